#!/usr/bin/env bash
# Draws the figures and takes the pictures of docs/; a virtual display gives every machine the same window.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
display=()
if command -v xvfb-run >/dev/null; then
    display=(env -u WAYLAND_DISPLAY QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1
        xvfb-run --auto-servernum "--server-args=-screen 0 1600x1200x24")
fi

$python scripts/figures.py
PYTHONPATH=. QT_API=${QT_API:-pyqt6} "${display[@]}" $python scripts/tutorial.py
