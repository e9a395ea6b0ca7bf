"""Results as files: JSON and CSV for programs, Markdown and a plot for people."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from napari_softseg.saving import replacing
from napari_softseg.training.compare.findings import Finding, Summary
from napari_softseg.training.compare.results import Results, VariantResult, miou

PLOT = Path("images", "results.png")
"""Below the folder of the Markdown page, as docs/ has it."""
_ENDASH = "–"


def write_results(results: Results, out: Path) -> list[Path]:
    """Write results.json, results.csv, results.md and images/results.png into `out`; all or none.

    Returns
    -------
    list of Path
        The files.
    """
    files = [out / "results.json", out / "results.csv", out / "results.md", out / PLOT]
    (out / PLOT.parent).mkdir(exist_ok=True)
    with replacing(*files) as (json_file, csv_file, markdown_file, plot_file):
        json_file.write_text(json.dumps(as_data(results), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        csv_file.write_text(_csv(results), encoding="utf-8", newline="")
        markdown_file.write_text(markdown(results), encoding="utf-8")
        _plot(results, plot_file)
    return files


def as_data(results: Results) -> dict[str, Any]:
    """Return the results as JSON can hold them; null for numbers there are none of."""
    return {
        "date": results.date,
        "command": results.command,
        "machine": results.machine,
        "devices": results.devices,
        "versions": results.versions,
        "train": str(results.plan.train),
        "val": str(results.plan.val),
        "schedule": results.schedule,
        "jobs": results.jobs,
        "settings": results.settings,
        "runs": _rows(results),
        "variants": [
            {
                "name": one.variant.name,
                "title": one.variant.title,
                "options": {name: _plain(value) for name, value in one.variant.options.items()},
                "miou_last": _summary_data(one.last),
                "miou_best": _summary_data(one.best),
                "pixel_accuracy": _number(one.pixel_accuracy),
                "seconds": _number(one.seconds),
                "paper": one.variant.paper,
            }
            for one in results.variants
        ],
        "findings": [
            {
                "claim": one.claim.text,
                "better": list(one.claim.better),
                "worse": list(one.claim.worse),
                "factor": one.claim.factor,
                "margin": one.claim.margin,
                "verdict": str(one.verdict),
                "difference": _number(one.difference),
                "standard_error": _number(one.error),
                "seeds": one.seeds,
                "paper": one.paper,
                "missing": list(one.missing),
            }
            for one in results.findings
        ],
    }


def _rows(results: Results) -> list[dict[str, Any]]:
    """Return one row per run."""
    rows = []
    for one in results.outcomes:
        best = one.log.best if one.log else None
        last = one.log.last if one.log else None
        rows.append(
            {
                "variant": one.run.variant.name,
                "seed": one.run.seed,
                "status": (one.log.status if one.log else None) or "failed",
                "miou_last": _number(miou(one, "last")),
                "miou_best": _number(miou(one, "best")),
                "best_epoch": best.number if best else None,
                "pixel_accuracy": _number(100 * last.val.pixel_accuracy) if last and last.val else None,
                "seconds": round(one.log.seconds, 1) if one.log else None,
                "device": one.log.device if one.log else None,
                "failure": one.failure,
            }
        )
    return rows


def _csv(results: Results) -> str:
    buffer = io.StringIO()
    rows = _rows(results)
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def markdown(results: Results) -> str:
    """Return the page."""
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    settings = ", ".join(
        f"{name.rstrip('_')} {_shown(value)}" for name, value in results.settings.items() if value is not None
    )
    parts = [
        "# Results",
        f"The comparisons of Zhang & Boykov (CVPR 2025), run anew on {results.plan.train}, scored on "
        f"{results.plan.val}. Written by `napari-softseg compare`.",
        "\n".join(
            [
                f"- {results.date}, {versions}",
                f"- {results.machine}; networks on {', '.join(results.devices) or 'nothing'}, "
                f"{results.jobs} at a time",
                f"- `{results.command}`",
                f"- schedule {results.schedule}: {settings}",
            ]
        ),
        "## Mean IoU\n\n"
        "In % of the validation images, after the last epoch and after the best one (which is chosen on the "
        "same images), mean ± standard deviation over seeds. The paper's column is another data set (VOC "
        "2012, full size, MobileNetV2): only differences can be compared.",
        _table(
            ["name", "what", "seeds", "last", "best", "of full", "pixel accuracy", "s per run", "paper"],
            [_variant_row(one, _full(results)) for one in results.variants],
        ),
        f"![Mean IoU of every run]({PLOT.as_posix()})",
        "## What the paper found, and what came out here\n\n"
        "Differences are in points of mean IoU after the last epoch, of runs with the same seed. Noise is "
        "the 95 % interval (Student's t) of that difference over seeds.",
        _table(
            ["finding", "came out", "difference", "seeds", "paper"],
            [_finding_row(one) for one in results.findings],
        ),
    ]
    failures = [one for one in results.outcomes if one.failure]
    if failures:
        lines = [f"- {one.run.folder.name}: {_cell(one.failure)}" for one in failures]
        parts.append("## Runs without a score\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _variant_row(one: VariantResult, full: float) -> list[str]:
    share = one.last.mean / full if full > 0 else math.nan
    return [
        one.variant.name,
        one.variant.title,
        str(one.last.count),
        _with_spread(one.last),
        _with_spread(one.best),
        _fixed(100 * share, " %"),
        _fixed(one.pixel_accuracy),
        _fixed(one.seconds, digits=0),
        _ENDASH if one.variant.paper is None else f"{one.variant.paper:.1f}",
    ]


def _finding_row(one: Finding) -> list[str]:
    text = str(one.verdict)
    if one.missing:
        text += f" ({', '.join(one.missing)})"
    difference = _ENDASH if math.isnan(one.difference) else f"{one.difference:+.2f}"
    if not math.isnan(one.error):
        difference += f" ± {one.error:.2f}"
    paper = _ENDASH if one.paper is None else f"{one.paper:+.1f}"
    return [one.claim.text, text, difference, str(one.seeds), paper]


def _full(results: Results) -> float:
    """Return the score of full supervision, NaN if it was not run."""
    return next((one.last.mean for one in results.variants if one.variant.name == "full"), math.nan)


def _plot(results: Results, path: Path) -> None:
    """Draw every run as a dot and every mean as a line, one row per variant."""
    shown = [one for one in results.variants if one.last.count]
    figure = Figure(figsize=(7, 1.2 + 0.26 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    for row, one in enumerate(shown):
        scores = [
            miou(outcome, "last")
            for outcome in results.outcomes
            if outcome.run.variant.name == one.variant.name and outcome.scored
        ]
        axes.plot(scores, [row] * len(scores), "o", color="#0072b2", markersize=5, alpha=0.6)
        axes.vlines(one.last.mean, row - 0.35, row + 0.35, color="#d55e00", linewidth=2)
    axes.set_yticks(range(len(shown)), [one.variant.name for one in shown])
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("mean IoU after the last epoch, %: runs (dots) and their mean (lines)")
    figure.savefig(path, format="png", dpi=130)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _with_spread(summary: Summary) -> str:
    if math.isnan(summary.spread):
        return _fixed(summary.mean, digits=2)
    return f"{summary.mean:.2f} ± {summary.spread:.2f}"


def _fixed(value: float, unit: str = "", digits: int = 1) -> str:
    return _ENDASH if math.isnan(value) else f"{value:.{digits}f}{unit}"


def _summary_data(summary: Summary) -> dict[str, float | int | None]:
    return {
        "mean": _number(summary.mean),
        "spread": _number(summary.spread),
        "lowest": _number(summary.lowest),
        "highest": _number(summary.highest),
        "seeds": summary.count,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
