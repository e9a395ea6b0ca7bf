"""The HTML page about a run, taken apart with html.parser, whatever state the run is in."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.training.options import as_json, train_options
from napari_softseg.training.report.page import MAX_EPOCHS, MAX_SAMPLES, render_report, write_report
from napari_softseg.training.report.run_log import Epoch, RunLog, Validation, read_run
from napari_softseg.training.report.sample_files import picture_path
from napari_softseg.training.report.samples import save_samples

HOSTILE = '<script>alert("x")</script> & "quotes" $\\frac{$'
CLASSES = ["sky", "straße", HOSTILE]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags with attributes, and text; fails where tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open[-1] != "style":
            self.texts.append(" ".join(data.split()))

    def attributes(self, tag: str, name: str) -> list[str]:
        return [
            value for found, attrs in self.tags if found == tag and (value := attrs.get(name)) is not None
        ]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def start(**changes: Any) -> dict[str, Any]:
    return {
        "event": "start",
        "run": "run",
        "epochs": 4,
        "step": 0,
        "steps": 8,
        "options": as_json(train_options(preset="fast", lambda_=2.5)),
        "classes": [{"value": value, "name": name} for value, name in enumerate(CLASSES)],
        "device": "cpu",
        "images": 12,
        "val_images": 5,
    } | changes


def step(number: int, loss: float | None = 1.0) -> dict[str, Any]:
    return {
        "event": "step",
        "epoch": 1,
        "step": number,
        "steps": 8,
        "loss": loss,
        "terms": {},
        "lr": 0.1,
        "eta_s": 75.0,
    }


def epoch(number: int, miou: float | None, **changes: Any) -> dict[str, Any]:
    val = None
    if miou is not None:
        iou = {"sky": miou, "straße": None, HOSTILE: miou / 2}
        val = {"source": "masks", "miou": miou, "iou": iou, "pixel_accuracy": miou + 0.2}
    return {
        "event": "epoch",
        "epoch": number,
        "loss": 2.0 / number,
        "terms": {"pce": 1.5 / number, "self": 0.5 / number},
        "val": val,
        "seconds": 40.0,
        "best": False,
    } | changes


END = {"event": "end", "status": "finished", "best": None, "seconds": 9.0, "message": "finished 4 epochs"}
WHOLE = [start(), step(1), epoch(1, 0.21), epoch(2, 0.4567), epoch(3, 0.33), epoch(4, 0.41), END]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run <3>"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"format": 1, "options": start()["options"]}))
    return folder


def log(run: Path, events: list[dict[str, Any]], rest: str = "") -> None:
    (run / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + rest)


def page(run: Path) -> Page:
    return Page(render_report(run))


def pictures(run: Path, names: list[str], epochs: list[int]) -> None:
    seeds = torch.full((len(names), 8, 8), -1)
    seeds[:, 2] = 1
    soft = torch.full((len(names), 3, 8, 8), 1 / 3)
    for number in epochs:
        images = torch.full((len(names), 3, 8, 8), 99.0)
        save_samples(
            run,
            number,
            names,
            (0, 1, 2),
            images=images,
            predictions=soft,
            pseudo=soft if number > 1 else None,
            seeds=seeds,
            truth=seeds,
        )


def test_headline_classes_and_settings(run: Path) -> None:
    log(run, WHOLE)
    found = page(run)
    for words in (
        "run <3>",
        "Finished",
        "mean IoU, best (epoch 2)\n45.7 %",
        "mean IoU, last (epoch 4)\n41.0 %",
        "pixel accuracy, last\n61.0 %",
        "epochs\n4 of 4",
        "time in epochs\n2 min 40 s",
        "images to train on\n12",
        "device\ncpu",
        "sky\n45.7 %\n41.0 %",
        "straße\n–\n–",
        HOSTILE + "\n22.8 %\n20.5 %",
        "lambda\n2.5\n18",  # value and the preset's
        "epochs\n10\n",
    ):
        assert words in found.text, words
    assert "finished 4 epochs" not in found.text  # nothing to warn of
    assert found.attributes("i", "style") == ["width: 45.7%", "width: 41.0%", "width: 22.8%", "width: 20.5%"]


def test_nothing_is_loaded_and_nothing_runs(run: Path) -> None:
    log(run, WHOLE)
    pictures(run, ["<b>bold</b>"], [1, 2])
    html = render_report(run)
    found = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "b"} & {tag for tag, _ in found.tags}
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    sources = [
        value
        for _, attrs in found.tags
        for name, value in attrs.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action")
    ]
    assert sources
    assert all((value or "").startswith(("data:image/png;base64,", "#")) for value in sources)
    assert not re.search(r"@import|url\((?!#)", html)
    addresses = set(re.findall(r"https?://[^\s\"'<>]*", html))
    assert addresses <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}  # names, not loaded


def test_curves_go_through_the_numbers(run: Path) -> None:
    log(run, WHOLE)
    html = render_report(run)
    drawn = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    titles = ["Validation on masks, %", "Loss", "Term pce", "Term self"]
    assert len(drawn) == len(titles)
    for title, svg in zip(titles, drawn, strict=True):
        assert title in [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    # The loss is 2, 1, 2/3, 1/2: heights in the drawing are in the same proportion.
    paths = drawn[1].iter("{http://www.w3.org/2000/svg}path")
    (line,) = [
        path.get("d", "")
        for path in paths
        if "stroke: var(--first); stroke-width: 1.8" in path.get("style", "")
    ]
    heights = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", line)]
    assert (heights[1] - heights[0]) / (heights[3] - heights[0]) == pytest.approx(1 / 1.5, abs=1e-3)
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert {name.removeprefix("#") for name in re.findall(r'xlink:href="([^"]*)"', html)} <= set(ids)
    assert "#0102" not in html  # no stand-in left
    for theme in ("prefers-color-scheme: dark", "var(--first)", "currentColor"):
        assert theme in html


def test_pictures_over_time(run: Path) -> None:
    log(run, WHOLE)
    pictures(run, ["street/1"], [1, 2])
    found = page(run)
    assert "street/1" in found.texts
    captions = [
        text for text in found.texts if text in ("image", "scribbles", "truth") or text.startswith("epoch ")
    ]
    assert captions[-5:] == ["image", "scribbles", "truth", "epoch 1: prediction", "epoch 2"]
    kinds = [alt.split(" of ")[0] for alt in found.attributes("img", "alt")]
    assert kinds == ["image", "scribbles", "truth", "prediction", "pseudo", "prediction"]
    for source in found.attributes("img", "src"):
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
            assert image.size == (8, 8)


def test_many_pictures_are_thinned_and_it_says_so(run: Path) -> None:
    log(run, WHOLE)
    pictures(run, ["a"], [2])
    for number in range(1, 21):
        for kind in ("pseudo", "prediction") if number > 1 else ("prediction",):
            picture = picture_path(run, "a", kind, 2).read_bytes()
            for i in range(MAX_SAMPLES + 1):
                picture_path(run, f"image{i}", kind, number).write_bytes(picture)
    found = page(run)
    assert f"first {MAX_SAMPLES} of {MAX_SAMPLES + 2} sample images" in found.text
    shown = [text for text in found.texts if re.fullmatch(r"epoch \d+(: prediction)?", text)]
    assert len(shown) == 1 + (MAX_SAMPLES - 1) * MAX_EPOCHS
    assert shown[1 : MAX_EPOCHS + 1] == [
        "epoch 1: prediction",
        "epoch 5",
        "epoch 9",
        "epoch 12",
        "epoch 16",
        "epoch 20",
    ]


def test_a_run_that_goes_on(run: Path) -> None:
    log(run, WHOLE[:4])
    found = page(run)
    assert "Going on, or killed" in found.text
    assert "epochs\n2 of 4" in found.text
    log(run, [start(), step(1, 3.0), step(2, 2.0)])
    found = page(run)
    assert "No epoch has ended yet." in found.text
    assert "left, by its last step\n1 min 15 s" in found.text
    assert "Loss of the steps" in found.text
    assert set(CLASSES) <= set(found.texts)


def test_before_the_log_begins(run: Path) -> None:
    found = page(run)
    assert "No epoch has ended yet." in found.text
    assert "lambda\n2.5" in found.text


def test_a_torn_log(run: Path) -> None:
    log(run, WHOLE[:5], '{"event": "epoch", "epo')
    found = page(run)
    assert "could not be read and were left out: 1." in found.text
    assert "epochs\n3 of 4" in found.text
    for line in ("[1, 2]", "null", '{"event": "epoch"}', "\x00\x00", '{"event": "step", "step": "x"}'):
        log(run, WHOLE, line)
        assert read_run(run).unreadable == 1
    (run / "log.jsonl").write_bytes(b"\xff\xfe\n")
    assert "left out: 1." in page(run).text


@pytest.mark.parametrize(("status", "says"), [("stopped", "Stopped before"), ("diverged", "Diverged")])
def test_runs_that_ended_early(run: Path, status: str, says: str) -> None:
    message = "the loss became nan in epoch 3; try a smaller --lr"
    bad = epoch(3, None, loss=math.nan, terms={"pce": math.inf, "self": None})
    log(run, [*WHOLE[:4], bad, {"event": "end", "status": status, "message": message}])
    found = page(run)
    assert says in found.text
    assert message in found.text
    assert "loss, last epoch\n–" in found.text
    assert "mean IoU, last (epoch 2)\n45.7 %" in found.text  # the last that was validated


def test_without_validation(run: Path) -> None:
    log(run, [start(val_images=0), epoch(1, None), epoch(2, None), END])
    found = page(run)
    assert "Nothing was validated" in found.text
    assert "mean IoU" not in found.text
    assert set(CLASSES) <= set(found.texts)


def test_validation_on_held_out_strokes_says_so(run: Path) -> None:
    one = epoch(1, 0.5)
    one["val"]["source"] = "held-out strokes"
    log(run, [start(), one])
    found = page(run)
    assert "Scores are on held-out strokes, which are few pixels" in found.text
    assert "Validation on held-out strokes, %" in found.text


def test_a_run_that_was_resumed(run: Path) -> None:
    stopped = {"event": "end", "status": "stopped", "message": "stopped in epoch 3"}
    log(run, [*WHOLE[:4], step(5, 9.0), stopped, start(), step(5, 4.0), epoch(2, 0.25), epoch(3, 0.3)])
    read = read_run(run)
    assert (read.status, read.message, read.starts) == (None, "", 2)
    assert [one.number for one in read.epochs] == [1, 2, 3]
    assert [one.val.miou for one in read.epochs if one.val] == [0.21, 0.25, 0.3]  # epoch 2 anew
    assert read.steps == [(1, 1.0), (5, 4.0)]
    assert "went on, times: 1." in page(run).text


def test_the_last_of_equal_scores_is_the_best() -> None:
    val = Validation("held-out strokes", 0.5, 0.5, {})
    epochs = [Epoch(number, 1.0, {}, val, 1.0, best=True) for number in (1, 2, 3)]
    best = RunLog(Path(), epochs=epochs).best
    assert best is not None
    assert best.number == 3


def test_a_score_that_is_none_is_never_the_best(run: Path) -> None:
    log(run, [start(), epoch(1, 0.2), epoch(2, math.nan)])
    best = read_run(run).best
    assert best is not None
    assert best.number == 1
    log(run, [start(), epoch(1, math.nan)])
    assert read_run(run).best is None
    assert "mean IoU, last (epoch 1)\n–" in page(run).text


def test_options_of_another_version(run: Path) -> None:
    log(run, [start(options={"preset": "turbo", "warp": HOSTILE, "eta": 0.9})])
    assert f"warp\n{HOSTILE}" in page(run).text


def test_the_page_is_written_whole_or_not_at_all(run: Path, tmp_path: Path) -> None:
    log(run, WHOLE)
    output = tmp_path / "page.html"
    write_report(run, output)
    assert "45.7 %" in Page(output.read_text(encoding="utf-8")).text
    before = output.read_bytes()
    (run / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        write_report(run, output)
    assert output.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "run <3>"]


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no training run"):
        render_report(tmp_path)
    with pytest.raises(InputError, match="is no folder of a training run"):
        render_report(tmp_path / "gone")
