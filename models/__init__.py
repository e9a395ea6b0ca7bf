"""Segmentation networks, installed as ``napari_softseg.models``.

Empty so far. DeepLabV3+, its backbones and the loading of their weights belong here:
torch and torchvision alone, no Qt, no napari.
"""
