"""Training on scribbles, installed as ``napari_softseg.training``.

Empty so far. The losses, the data sets, the training loop, its metrics and its
configuration belong here: on top of ``napari_softseg.solver`` and ``napari_softseg.models``,
no Qt, no napari.
"""
