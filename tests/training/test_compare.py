"""The comparisons: what is planned, what the numbers say, what is written. Runs are logs made up here."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from napari_softseg.errors import InputError
from napari_softseg.options import SolveOptions
from napari_softseg.solver.api import check_method
from napari_softseg.training.compare.findings import Finding, Verdict, judged, summarised
from napari_softseg.training.compare.plan import Plan
from napari_softseg.training.compare.results import Results, collected
from napari_softseg.training.compare.runs import Outcome, iter_runs, with_earlier
from napari_softseg.training.compare.variants import (
    CLAIMS,
    SCHEDULES,
    VARIANTS,
    Claim,
    Variant,
    chosen_variants,
)
from napari_softseg.training.compare.writing import write_results
from napari_softseg.training.options import as_json, train_options

A, B, C = Variant("a", "A | first"), Variant("b", "B", {"eta": 0.5}, 70.0), Variant("c", "C", {}, 68.0)


def judge(claim: Claim, **scores: dict[int, float]) -> Finding:
    return judged(claim, scores, [A, B, C])


def test_a_clear_difference() -> None:
    found = judge(Claim("", ("a",), ("b",)), a={0: 50.0, 1: 51.0, 2: 52.0}, b={0: 47.0, 1: 48.5, 2: 48.5})
    assert found.verdict is Verdict.YES
    assert found.difference == pytest.approx((3.0 + 2.5 + 3.5) / 3)
    assert found.error == pytest.approx(stats.sem([3.0, 2.5, 3.5]))
    assert (found.seeds, found.missing) == (3, ())


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([50, 51], [48, 49.1], Verdict.YES),
        ([48, 49.1], [50, 51], Verdict.NO),
        ([50, 53], [49, 55], Verdict.NOT_WITHIN_NOISE),
        ([50, 55], [49, 50], Verdict.WITHIN_NOISE),
        ([50], [49], Verdict.ONE_SEED),
        ([49], [50], Verdict.NOT_ONE_SEED),
        ([50, 50], [50, 50], Verdict.WITHIN_NOISE),
    ],
)
def test_verdicts(a: list[float], b: list[float], verdict: Verdict) -> None:
    found = judge(Claim("", ("a",), ("b",)), a=dict(enumerate(a)), b=dict(enumerate(b)))
    assert found.verdict is verdict


def test_only_runs_of_the_same_seed_are_compared() -> None:
    found = judge(Claim("", ("a",), ("b",)), a={0: 50.0, 2: 60.0, 3: 1.0}, b={2: 50.0, 3: 0.0, 7: 90.0})
    assert found.seeds == 2
    assert found.difference == pytest.approx(5.5)


def test_factor_margin_and_groups() -> None:
    scores = {"a": {0: 60.0}, "b": {0: 50.0}, "c": {0: 40.0}}
    assert judge(Claim("", ("a",), ("b", "c")), **scores).difference == pytest.approx(15)
    assert judge(Claim("", ("b", "c"), ("a",), factor=0.9), **scores).difference == pytest.approx(-9)
    assert judge(Claim("", ("a",), ("b",), margin=12.0), **scores).verdict is Verdict.NOT_ONE_SEED


def test_the_papers_difference_is_from_the_papers_numbers() -> None:
    assert judge(Claim("", ("b",), ("c",), factor=0.5, margin=1.0)).paper == pytest.approx(70 - 34 - 1)
    assert judge(Claim("", ("a",), ("b",))).paper is None


def test_what_was_not_run() -> None:
    found = judge(Claim("", ("a",), ("b",)), a={0: 50.0}, b={})
    assert (found.verdict, found.missing, found.seeds) == (Verdict.NOT_RUN, ("b",), 0)
    assert math.isnan(found.difference)
    assert judge(Claim("", ("a",), ("b",)), a={0: 50.0}, b={1: 50.0}).verdict is Verdict.NOT_RUN


def test_summaries() -> None:
    summary = summarised({0: 1.0, 1: 2.0, 5: 6.0})
    assert (summary.mean, summary.lowest, summary.highest, summary.count) == (3.0, 1.0, 6.0, 3)
    assert summary.spread == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert math.isnan(summarised({0: 1.0}).spread)
    assert math.isnan(summarised({}).mean)


def test_the_papers_findings_come_out_of_the_papers_numbers() -> None:
    """All but the last step to full supervision: 71.2 is 98.8 % of 72.1."""
    scores = {variant.name: {0: variant.paper} for variant in VARIANTS if variant.paper is not None}
    found = {claim.text: judged(claim, scores, VARIANTS).verdict for claim in CLAIMS}
    run = {text: verdict for text, verdict in found.items() if verdict is not Verdict.NOT_RUN}
    assert run.pop("... and 99 % of it") is Verdict.NOT_ONE_SEED
    assert len(run) == 6
    assert set(run.values()) == {Verdict.ONE_SEED}


def test_every_variant_and_schedule_can_be_trained() -> None:
    names = [variant.name for variant in VARIANTS]
    assert len(set(names)) == len(names)
    assert {name for claim in CLAIMS for name in (*claim.better, *claim.worse)} <= set(names)
    seen = []
    for settings in SCHEDULES.values():
        for variant in VARIANTS:
            options = train_options(**{**settings, **variant.options})
            check_method(SolveOptions(relaxation=options.relaxation, neighborhood=options.neighborhood))
        seen = [as_json(train_options(**{**settings, **variant.options})) for variant in VARIANTS]
    assert all(seen.count(options) == 1 for options in seen)  # no two train the same


def test_choosing_variants() -> None:
    assert chosen_variants(None) == VARIANTS
    chosen = [variant.name for variant in chosen_variants(["soft-cd-length*", " full"])]
    assert chosen[0] == "full"
    assert chosen[1:] == [f"soft-cd-length{length}" for length in ("0", "0.3", "0.5", "0.8")]
    with pytest.raises(InputError, match=r"Unknown variant 'crf'; choose from: full, pce, gd-nn"):
        chosen_variants(["crf"])


# What is in a folder already


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    out = tmp_path / "out"
    return Plan(tmp_path / "train", tmp_path / "val", out, [A, B], (0, 1), {"epochs": 2, "eta": 0.75})


def made_up(plan: Plan, name: str, *mious: float | None, status: str = "finished", **options: Any) -> Path:
    """Write a run that was scored so after its epochs."""
    (run,) = (run for run in plan.runs if run.folder.name == name)
    run.folder.mkdir(parents=True)
    chosen = as_json(run.options) | options
    config = {"options": chosen, "folders": [str(plan.train)], "val": str(plan.val)}
    (run.folder / "config.json").write_text(json.dumps(config))
    start = {
        "event": "start",
        "epochs": 2,
        "step": 0,
        "steps": 4,
        "options": chosen,
        "classes": [],
        "device": "cpu",
    }
    events: list[dict[str, Any]] = [start | {"images": 2, "val_images": 1}]
    for number, miou in enumerate(mious, 1):
        val: dict[str, Any] = {"source": "masks", "miou": miou, "pixel_accuracy": 0.9, "iou": {}}
        events.append(
            {
                "event": "epoch",
                "epoch": number,
                "loss": 1.0,
                "terms": {},
                "val": val,
                "seconds": 10.0,
                "best": True,
            }
        )
    events.append({"event": "end", "status": status, "message": "the loss became nan"})
    (run.folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return run.folder


def outcomes_of(plan: Plan) -> list[Outcome]:
    steps = iter_runs(plan)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcomes: list[Outcome] = end.value
            return outcomes


@pytest.fixture
def finished(plan: Plan) -> Results:
    made_up(plan, "a_seed0", 0.40, 0.50)
    made_up(plan, "a_seed1", 0.54, 0.52)
    made_up(plan, "b_seed0", 0.41)
    made_up(plan, "b_seed1", 0.30, status="diverged")
    return collected(plan, outcomes_of(plan), schedule="reduced", command="napari-softseg compare x", jobs=1)


def test_the_order_and_options_of_runs(plan: Plan) -> None:
    assert [run.folder.name for run in plan.runs] == ["a_seed0", "b_seed0", "a_seed1", "b_seed1"]
    assert [(run.options.eta, run.options.seed) for run in plan.runs] == [
        (0.75, 0),
        (0.5, 0),
        (0.75, 1),
        (0.5, 1),
    ]


def test_finished_runs_are_read_and_not_run_again(finished: Results) -> None:
    assert [outcome.failure for outcome in finished.outcomes] == ["", "", "", "the loss became nan"]
    first, second = finished.variants
    assert [first.last.mean, first.best.mean, first.last.count] == pytest.approx([51, 52, 2])
    assert [second.last.mean, second.last.count, second.seconds] == pytest.approx([41, 1, 10])
    assert first.seconds == 20
    assert first.pixel_accuracy == pytest.approx(90)
    assert finished.settings["epochs"] == 2
    assert not {"eta", "seed"} & set(finished.settings)  # what differs is not said of all


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"eta": 0.9}, "trained with eta 0.9, but now it is 0.75"),
        ({"lambda_": 1.0}, "trained with lambda 1.0, but now it is 18.0"),
    ],
)
def test_a_run_with_other_options_is_refused(plan: Plan, change: dict[str, Any], says: str) -> None:
    made_up(plan, "a_seed0", 0.5, **change)
    with pytest.raises(InputError, match=says):
        outcomes_of(plan)


def test_a_run_on_other_data_is_refused(plan: Plan) -> None:
    config = made_up(plan, "a_seed0", 0.5) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_bytes()) | {"val": "/elsewhere"}))
    with pytest.raises(InputError, match="trained with validation folder /elsewhere"):
        outcomes_of(plan)


def test_another_device_is_no_other_run(plan: Plan) -> None:
    plan = Plan(plan.train, plan.val, plan.out, [A], (0,), plan.settings)
    made_up(plan, "a_seed0", 0.5, device="cuda:3", workers=9)
    assert [outcome.failure for outcome in outcomes_of(plan)] == [""]


def test_an_option_that_came_later_has_its_default(plan: Plan) -> None:
    for run in plan.runs:
        config = made_up(plan, run.folder.name, 0.5) / "config.json"
        content = json.loads(config.read_text())
        del content["options"]["class_balance"]
        config.write_text(json.dumps(content))
    list(iter_runs(plan))


def test_results_show_what_other_commands_finished_in_the_folder(plan: Plan) -> None:
    pce, cut, soft = chosen_variants(["pce", "hard-cut", "soft-cd"])
    whole = replace(plan, variants=[pce, soft, cut], seeds=(0, 3))
    made_up(whole, "soft-cd_seed0", 0.5)
    made_up(whole, "hard-cut_seed3", 0.4)
    made_up(whole, "pce_seed3", 0.3, lambda_=1.0)  # of another comparison
    (plan.out / "soft-cd_seedless").mkdir()
    asked = replace(plan, variants=[soft], seeds=(0,))
    widened, outcomes = with_earlier(asked, outcomes_of(asked))
    assert [one.run.folder.name for one in outcomes] == ["soft-cd_seed0", "hard-cut_seed3"]
    assert [variant.name for variant in widened.variants] == ["hard-cut", "soft-cd"]
    assert widened.seeds == [0, 3]


def test_a_run_that_scored_nothing(plan: Plan) -> None:
    plan = Plan(plan.train, plan.val, plan.out, [A], (0,), plan.settings)
    made_up(plan, "a_seed0", None)
    assert "nothing could be scored" in outcomes_of(plan)[0].failure


def test_what_is_written(plan: Plan, finished: Results) -> None:
    files = write_results(finished, plan.out)
    assert [file.relative_to(plan.out).as_posix() for file in files] == [
        "results.json",
        "results.csv",
        "results.md",
        "images/results.png",
    ]
    data = json.loads((plan.out / "results.json").read_text())
    assert data["command"] == "napari-softseg compare x"
    assert data["devices"] == ["cpu"]
    assert set(data["versions"]) == {"napari-softseg", "torch", "torchvision", "Python"}
    assert data["variants"][0]["miou_last"] == {
        "mean": 51.0,
        "spread": pytest.approx(math.sqrt(2), abs=1e-4),
        "lowest": 50.0,
        "highest": 52.0,
        "seeds": 2,
    }
    with (plan.out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["seed"], row["status"], row["miou_last"]) for row in rows] == [
        ("a", "0", "finished", "50.0"),
        ("b", "0", "finished", "41.0"),
        ("a", "1", "finished", "52.0"),
        ("b", "1", "diverged", "30.0"),
    ]
    with Image.open(plan.out / "images" / "results.png") as image:
        assert image.width > 500


def test_the_page(plan: Plan, finished: Results) -> None:
    write_results(finished, plan.out)
    text = (plan.out / "results.md").read_text()
    assert "| a | A \\| first | 2 | 51.00 ± 1.41 | 52.00 ± 2.83 | – | 90.0 | 20 | – |" in text
    assert "| b | B | 1 | 41.00 | 41.00 | – | 90.0 | 10 | 70.0 |" in text
    assert "- b_seed1: the loss became nan" in text
    assert "not run (soft-cd, pce)" in text
    assert "![Mean IoU of every run](images/results.png)" in text
    assert "epochs 2" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") in (10, 6) for line in tables)


def test_shares_of_full_supervision(tmp_path: Path) -> None:
    full, pce = chosen_variants(["full", "pce"])
    plan = Plan(tmp_path / "t", tmp_path / "v", tmp_path / "out", [full, pce], (0,), {"epochs": 2})
    made_up(plan, "full_seed0", 0.50)
    made_up(plan, "pce_seed0", 0.45)
    results = collected(plan, outcomes_of(plan), schedule="tiny", command="", jobs=2)
    write_results(results, plan.out)
    text = (plan.out / "results.md").read_text()
    assert "| pce | strokes alone: partial cross-entropy | 1 | 45.00 | 45.00 | 90.0 % |" in text
    assert "2 at a time" in text
