"""The pseudo-label sub-problem on torch: no Qt, no napari.

Image to labels: :func:`~napari_softseg.solver.api.solve`. On tensors, in batches: build a
:class:`~napari_softseg.solver.problem.Problem` and pass it to
:func:`~napari_softseg.solver.majorize_minimize.iter_majorize_minimize`.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
