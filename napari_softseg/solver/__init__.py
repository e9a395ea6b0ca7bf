"""The pseudo-label sub-problem on torch: no Qt, no napari."""
