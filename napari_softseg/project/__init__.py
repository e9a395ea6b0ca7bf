"""An annotated folder on disk, shared by the viewer and the command line: no Qt, no napari, no torch."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
