"""What all tests share."""

import os

# Before napari is imported: tests neither read nor write the settings of whoever runs them.
os.environ["NAPARI_CONFIG"] = ""
