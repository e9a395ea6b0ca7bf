"""``python -m napari_softseg`` is ``napari-softseg``."""

from __future__ import annotations

import sys

from napari_softseg.cli import main

sys.exit(main())
