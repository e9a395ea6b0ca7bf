#!/usr/bin/env bash
# Style, format and types; fails after all three have spoken.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
python=.venv/bin/python
status=0
$python -m ruff check || status=1
$python -m ruff format --check || status=1
$python -m mypy || status=1
exit $status
