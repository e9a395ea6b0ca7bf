"""Everything that needs a window: the only package that imports qtpy, magicgui and napari."""
