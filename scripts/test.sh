#!/usr/bin/env bash
# Runs every leg of the tests, even after one has failed; fails if any did.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
python=.venv/bin/python
failed=()

leg() {
    printf '\n=== %s\n' "$1"
    "${@:2}" || failed+=("$1")
}

# A real window on a virtual display, so that no test depends on the desktop it runs on.
on_display() {
    if command -v xvfb-run >/dev/null; then
        env -u WAYLAND_DISPLAY QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1 \
            xvfb-run --auto-servernum --server-args="-screen 0 1600x1200x24" "$@"
    else
        "$@"
    fi
}

window_tests() {
    on_display env QT_API="$1" PYTEST_QT_API="$1" $python -m pytest tests/gui
}

leg "lint" scripts/lint.sh
leg "tests without a window" $python -m pytest tests --ignore=tests/gui --ignore=tests/packaging
leg "window tests, PyQt5" window_tests pyqt5
leg "window tests, PyQt6" window_tests pyqt6
leg "packaging tests" $python -m pytest tests/packaging

if ((${#failed[@]})); then
    printf '\nFAILED:\n'
    printf '  %s\n' "${failed[@]}"
    exit 1
fi
