"""Killed, interrupted, changed, in the way: what is on disk is whole, and the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_softseg import InputError
from napari_softseg.blocks import solve_blocks
from napari_softseg.cli import main
from tests.blocks.conftest import Files, Large, assert_same, stored

PROGRAM = [sys.executable, "-m", "napari_softseg"]
BLOCKS: dict[str, Any] = {"block": 88, "halo": 32, "device": "cpu"}


def done(out: Path) -> int:
    return len(list((out / "done" / "c").glob("*/*"))) if out.exists() else 0


def start_and(files: Files, how: signal.Signals, slow: list[str]) -> tuple[int, str]:
    """Start a run, send it a signal when some blocks are done, return exit code and stderr."""
    with subprocess.Popen([*PROGRAM, *files.args, *slow], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while done(files.out) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_goes_on(how: signal.Signals, files: Files) -> None:
    exact = ["--tolerance", "1e-6", "--max-sweeps", "8"]  # slow enough to be hit in the middle
    code, said = start_and(files, how, exact)
    before = done(files.out)
    assert 3 <= before < 16
    if how == signal.SIGINT:
        assert code == 130
        assert said == (
            f"napari-softseg: interrupted; {before} of 16 blocks are in {files.out}; "
            "the same command goes on from there.\n"
        )
    # what is there is whole: blocks that are not done hold nothing or all
    sums, ended = stored(files.out, "0").sum(axis=0, dtype=np.int64), stored(files.out, "done")
    for row in range(4):
        for column in range(4):
            block = sums[88 * row : 88 * row + 88, 88 * column : 88 * column + 88]
            assert (np.abs(block - 255) <= 2).all() or (block == 0).all()
            assert not ended[row, column] or block.all()
    times = {path: path.stat().st_mtime_ns for path in (files.out / "done" / "c").glob("*/*")}

    assert main([*files.args, *exact, "--json"]) == 0
    assert all(path.stat().st_mtime_ns == at for path, at in times.items())
    assert done(files.out) == 16
    if how == signal.SIGINT:
        return
    straight = files.folder / "straight"
    assert main([*files.args, *exact, "-o", str(straight)]) == 0
    assert_same(files.out, Path(f"{straight}.zarr"))


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_full_disk_is_named_and_the_run_goes_on(files: Files) -> None:
    import resource

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    failed = subprocess.run(
        [*PROGRAM, *files.args], capture_output=True, text=True, preexec_fn=small_files, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr == f"napari-softseg: error: {files.out}: File too large\n"
    assert main(files.args) == 0
    straight = files.folder / "straight"
    assert main([*files.args, "-o", str(straight)]) == 0
    assert_same(files.out, Path(f"{straight}.zarr"))


def test_ctrl_c_before_the_first_block(tmp_path: Path) -> None:
    """While the whole image, here 1.6 GB of float32 that no chunk holds, is looked at."""
    image, scribbles = tmp_path / "i.zarr", tmp_path / "s.zarr"
    zarr.create_array(image, shape=(20_000, 20_000), chunks=(512, 512), dtype="f4")
    strokes = zarr.create_array(scribbles, shape=(20_000, 20_000), chunks=(512, 512), dtype="u1")
    strokes[:9, :9], strokes[20:29, :9] = 1, 2
    args = ["solve", str(image), str(scribbles), "-o", str(tmp_path / "out"), "--progress"]
    with subprocess.Popen([*PROGRAM, *args], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        seen = b""
        while b"looking" not in seen:
            seen += process.stderr.read1()  # type: ignore[attr-defined]
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.decode().endswith("napari-softseg: interrupted; the same command goes on from there.\n")
    assert b"Traceback" not in rest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["i.zarr", "s.zarr"]


def test_a_complete_result_is_left_alone(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files.args, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["blocks"], report["solved_now"], report["classes"]) == (16, 16, [2, 5, 9])
    assert report["files"] == {"zarr": str(files.out)}
    stamps = {p: p.stat().st_mtime_ns for p in files.out.rglob("*") if p.is_file()}
    assert main(files.args) == 0
    assert "(16 were there)" in capsys.readouterr().out
    assert stamps == {p: p.stat().st_mtime_ns for p in files.out.rglob("*") if p.is_file()}
    assert files.made == ["out.zarr"]


CHANGES: dict[str, tuple[Callable[[Any, Any], tuple[Any, Any]], dict[str, Any], str]] = {
    "option": (lambda i, s: (i, s), {"lambda_": 2.0}, r"different lambda_ \(6.0 there, 2.0 now\)"),
    "halo": (lambda i, s: (i, s), {"halo": 48}, r"different halo \(32 there, 48 now\)"),
    "block": (lambda i, s: (i, s), {"block": 96}, r"different block \(88 there, 96 now\)"),
    "strokes": (lambda i, s: (i, np.roll(s, 1, 0)), {}, r"different scribbles \(another\)"),
    "image": (lambda i, s: (255 - i, s), {}, r"different image \(another\)"),
    "mask": (lambda i, s: (i, s), {"mask": np.arange(340 * 302).reshape(340, 302) > 302}, "different mask"),
    "channels": (lambda i, s: (i[..., 0], s), {}, "different shape"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_run_is_refused_and_not_mixed(change: str, large: Large, tmp_path: Path) -> None:
    out = tmp_path / "o.zarr"
    small: dict[str, Any] = BLOCKS | {"max_sweeps": 1}
    solve_blocks(large.image, large.scribbles, out, **small)
    changed, options, says = CHANGES[change]
    before = stored(out, "0")
    image, scribbles = changed(large.image, large.scribbles)
    with pytest.raises(InputError, match=says + ".*overwrite"):
        solve_blocks(image, scribbles, out, **small | options)
    np.testing.assert_array_equal(stored(out, "0"), before)
    again = solve_blocks(image, scribbles, out, overwrite=True, **small | options)
    assert again.solved == again.blocks
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]


def refused(files: Files, capsys: pytest.CaptureFixture[str], args: list[str], *says: str) -> None:
    before = files.made
    assert main(args) == 2
    err = capsys.readouterr().err
    assert err.startswith("napari-softseg: error: ")
    assert err.count("\n") == 1
    assert [words for words in says if words not in err] == [], err
    assert files.made == before


def test_bad_input_gets_one_line(files: Files, large: Large, capsys: pytest.CaptureFixture[str]) -> None:
    base = files.args[:5]

    def bad(name: str, array: Any) -> str:
        zarr.create_array(files.folder / "bad" / name, data=array)
        return str(files.folder / "bad" / name)

    zarr.create_group(files.folder / "bad")
    other, image = files.scribbles, str(files.image)
    out = ["-o", str(files.folder / "out")]
    empty, cut = bad("empty.zarr", large.scribbles * 0), bad("cut.zarr", large.scribbles[:, :300])
    one = bad("one.zarr", np.where(large.scribbles == 2, 2, 0))
    hole = large.image / np.float32(255)
    hole[7, 8] = np.nan
    holes = bad("nan.zarr", hole)
    refused(files, capsys, ["solve", image, empty, *out], "no strokes", "unlabelled value 0")
    refused(files, capsys, ["solve", image, cut, *out], "differ in size: 340 x 302 and 340 x 300")
    refused(files, capsys, ["solve", image, one, *out], "one class only (value 2)")
    refused(files, capsys, ["solve", holes, str(other), *out], "1 NaN", "row 7, column 8")
    refused(files, capsys, ["solve", str(files.folder / "bad"), str(other), *out], "multiscales", "cut.zarr")
    refused(
        files, capsys, ["solve", str(tmp := files.folder / "bad" / "c"), str(other), *out], "does not exist"
    )
    tmp.mkdir()
    refused(files, capsys, ["solve", str(tmp), str(other), *out], "without a zarr array")
    refused(files, capsys, [*base, "--block", "90"], "block to be a multiple of 4", "90")
    refused(files, capsys, [*base, "--halo=-4"], "halo", "-4")
    refused(files, capsys, [*base, "--memory", "lots"], "4 GB", "'lots'")
    refused(files, capsys, [*base, "--memory", "0"], "4 GB", "which is 0 bytes")
    refused(files, capsys, [*base, "--memory", "1MB"], "more than the memory", "give more memory")
    refused(files, capsys, [*base, "--workers", "0"], "one worker", "0")
    refused(files, capsys, [*base, "--unary", "none"], "Blocks need a first guess")
    refused(files, capsys, [*base, "--neighborhood", "dn", "--relaxation", "q"], "dn joins all pixels", "sn")
    refused(files, capsys, [*base, "--class-names", "a,b"], "Expected 3 class names")
    refused(files, capsys, [*base, "--unary", str(other)], "shape (K, H, W)")
    refused(files, capsys, [*base[:3], "-o", str(files.folder / "gone" / "x")], "no folder", "gone")
    refused(
        files, capsys, [*base[:3], "-o", str(files.folder / "bad" / "one")], "is no result of this program"
    )
    shutil.rmtree(files.folder / "bad")


def test_a_damaged_chunk_is_named_and_the_rest_kept(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    chunk = files.image / "c" / "3" / "2" / "0"
    good = chunk.read_bytes()
    chunk.write_bytes(good[: len(good) // 2])
    fast = ["--max-sweeps", "1"]
    assert main([*files.args, *fast]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Cannot read rows" in err
    assert "if it is damaged, copy it again" in err
    chunk.write_bytes(good)
    assert main([*files.args, *fast]) == 0
    assert done(files.out) == 16


def test_broken_ome_zarr(files: Files, make_ome: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (files.folder / "in").mkdir()
    stack = make_ome(files.folder / "in" / "stack.zarr", np.zeros((3, 340, 302), np.uint8), "zyx", "0.5")
    out = ["-o", str(files.folder / "out")]
    refused(files, capsys, ["solve", str(stack), str(files.scribbles), *out], "one plane", "zyx")
    shutil.rmtree(stack / "full")
    refused(files, capsys, ["solve", str(stack), str(files.scribbles), *out], "broken OME-Zarr", "full")


def test_block_flags_need_blocks(files: Files, large: Large, capsys: pytest.CaptureFixture[str]) -> None:
    photo, strokes = files.folder / "p.npy", files.folder / "s.npy"
    np.save(photo, large.image)
    np.save(strokes, large.scribbles)
    args = ["solve", str(photo), str(strokes), "-o", str(files.folder / "out"), "--max-sweeps", "1"]
    refused(files, capsys, [*args, "--halo", "32"], "--halo", "add --blocks")
    assert main([*args, "--blocks", "--halo", "32", "--block", "200", "--device", "cpu"]) == 0
    assert "4 blocks of 200 with a halo of 32" in capsys.readouterr().out
    assert files.made == ["out.zarr", "p.npy", "s.npy"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_full_disk_says_so_and_goes_on(files: Files) -> None:
    # no file may grow above 8 KiB: the soft labels of a block do not fit
    limited = [
        "/bin/bash",
        "-c",
        'ulimit -f 8; exec "$@"',
        "bash",
        *PROGRAM,
        *files.args,
        "--max-sweeps",
        "1",
    ]
    ran = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("napari-softseg: error: ")
    assert "File too large" in ran.stderr
    assert main([*files.args, "--max-sweeps", "1"]) == 0
    assert done(files.out) == 16
