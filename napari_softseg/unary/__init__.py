"""Where sigma, the first guess for every pixel, comes from: no Qt, no napari."""
