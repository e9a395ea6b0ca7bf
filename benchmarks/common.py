"""Lines every benchmark prints above its table: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def header(*packages: str) -> str:
    """Return Markdown lines that say where and with what the figures below them were measured."""
    return "\n".join(
        [
            f"- {date.today().isoformat()}, commit {commit()}",
            f"- {machine()}",
            f"- Python {platform.python_version()}, " + ", ".join(f"{p} {_version(p)}" for p in packages),
        ]
    )


def machine() -> str:
    """Return processor, usable cores, and the load before the benchmark adds its own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{_processor()}, {cores} cores{load}, {platform.system()}"


def commit() -> str:
    """Return the short commit of the working copy, marked where files differ from it."""
    try:
        ran = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return ran.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
