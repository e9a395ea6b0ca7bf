"""Whether ImageNet weights are on this machine already, found out without loading torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from napari_softseg.models.config import Backbone

FILES: Mapping[str, str] = {
    Backbone.MOBILENET_V2: "mobilenet_v2-b0353104.pth",
    Backbone.MOBILENET_V3_SMALL: "mobilenet_v3_small-047dcff4.pth",
    Backbone.MOBILENET_V3_LARGE: "mobilenet_v3_large-8738ca79.pth",
    Backbone.EFFICIENTNET_B0: "efficientnet_b0_rwightman-7f5810bc.pth",
    Backbone.EFFICIENTNET_B3: "efficientnet_b3_rwightman-b3899882.pth",
    Backbone.EFFICIENTNET_V2_S: "efficientnet_v2_s-dd5fe13b.pth",
    Backbone.RESNET18: "resnet18-f37072fd.pth",
    Backbone.RESNET34: "resnet34-b627a593.pth",
    Backbone.RESNET50: "resnet50-0676ba61.pth",
    Backbone.RESNET101: "resnet101-63fe2227.pth",
    Backbone.RESNET152: "resnet152-394f9c45.pth",
    Backbone.RESNEXT50: "resnext50_32x4d-7cdf4587.pth",
    Backbone.WIDE_RESNET50: "wide_resnet50_2-95faca4d.pth",
}
"""What torchvision calls its first ImageNet weights of every backbone."""


def imagenet_is_here(backbone: str) -> bool:
    """Return whether the weights are where torch.hub keeps what it downloaded."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser()
    return (home / "hub" / "checkpoints" / FILES[backbone]).is_file()
