"""Segmentation networks, installed as ``napari_softseg.models``.

DeepLabV3+, its backbones, where their weights come from, and model files: torch and torchvision alone,
no Qt, no napari. Importing this package loads neither; the names below load on first use.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
