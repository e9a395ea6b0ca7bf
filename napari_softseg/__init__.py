"""Scribbles to soft pseudo-labels, in napari and without it.

Importing this package loads neither torch nor Qt; the names below load on first use.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
