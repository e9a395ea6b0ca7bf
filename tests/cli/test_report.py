"""``napari-softseg report`` on a written log; what is in the page: tests/training/test_report.py."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import RunProgram


def begun(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"format": 1, "options": {"preset": "balanced", "eta": 0.7}}')
    return folder


def test_beside_the_run_or_elsewhere(tmp_path: Path, run: RunProgram) -> None:
    folder = begun(tmp_path / "street")
    result = run("report", folder)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"Wrote {folder / 'report.html'}\n"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>street</h1>" in page
    assert "0.7" in page
    assert run("report", folder, "-o", tmp_path / "x.html").code == 0
    assert (tmp_path / "x.html").exists()


def test_bad_input(tmp_path: Path, run: RunProgram) -> None:
    folder = begun(tmp_path / "street")
    (folder / "best.safetensors").write_text("a network")
    for args, says in (
        ([tmp_path / "gone"], "is no folder of a training run"),
        ([tmp_path], "holds no training run"),
        ([folder, "-o", tmp_path / "gone" / "x.html"], "there is no folder"),
        ([folder, "-o", tmp_path], "it is a folder"),
        ([folder, "-o", folder / "config.json"], "it is one of the inputs"),
        ([folder, "-o", folder / "best.safetensors"], "it is one of the inputs"),
    ):
        result = run("report", *args)
        assert (result.code, result.out) == (2, "")
        assert says in result.err
        assert result.err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["best.safetensors", "config.json"]
    assert (folder / "best.safetensors").read_text() == "a network"
