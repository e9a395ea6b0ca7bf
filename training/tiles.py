"""An image in tiles that overlap, put together without seams.

Every tile decides its own square of the image and goes on for `BLEND` pixels into the squares below and to
the right of it, where its say fades out linearly while theirs fades in. What it saw beyond that, its halo, is
thrown away. The shares of all tiles sum to 1 at every pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from napari_softseg.blocks.tiling import Tiling, Window

BLEND = 32
"""Rows and columns over which neighbouring tiles fade into each other."""

Floats = npt.NDArray[np.float32]


def iter_blended(
    predict: Callable[[Window], Floats], tiling: Tiling, first_row: int = 0
) -> Iterator[tuple[tuple[int, int], Floats | None]]:
    """Predict tile after tile; keeps `BLEND` rows of the image's width between them and nothing else.

    Parameters
    ----------
    predict : callable
        Returns (K, h, w) float32 for a window.
    tiling : Tiling
        Squares no smaller than `BLEND`.
    first_row : int
        Row of the tiling to begin with. The one above it is predicted as well, for the rows it fades out in.

    Yields
    ------
    (int, int)
        Place of the tile in the tiling.
    (K, h, w) float32 array or None
        The final values of its square; None in the row above the first one.
    """
    fading_down: Floats | None = None
    for row in range(max(0, first_row - 1), tiling.grid[0]):
        fading_right: Floats | None = None
        below: list[Floats] = []
        for column in range(tiling.grid[1]):
            square = tiling.window(row, column)
            zone = Window(
                square.top,
                min(square.bottom + BLEND, tiling.size[0]),
                square.left,
                min(square.right + BLEND, tiling.size[1]),
            )
            values = predict(zone)
            values *= _shares(zone.height, square.height, row > 0)[:, np.newaxis]
            values *= _shares(zone.width, square.width, column > 0)
            if fading_right is not None:
                values[:, :, : fading_right.shape[2]] += fading_right
            fading_right = values[:, :, square.width :].copy()
            if fading_down is not None:
                above = fading_down[:, :, square.left : square.right]
                values[:, : above.shape[1], : square.width] += above
            below.append(values[:, square.height :, : square.width].copy())
            wanted = row >= first_row
            yield (row, column), values[:, : square.height, : square.width] if wanted else None
        fading_down = np.concatenate(below, axis=2)


def _shares(length: int, square: int, fades_in: bool) -> Floats:
    """Return the tile's share in its own rows (or columns), the last of which lie in the next square."""
    shares = np.ones(length, dtype=np.float32)
    ramp = (np.arange(BLEND, dtype=np.float32) + np.float32(0.5)) / BLEND
    if fades_in:
        shares[:BLEND] = ramp[:length]
    shares[square:] = 1 - ramp[: length - square]
    return shares
