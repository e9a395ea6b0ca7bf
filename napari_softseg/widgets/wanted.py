"""What the result of a plane depends on, and what of it stays as it is when some of that changes."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_softseg.options import SolveOptions
from napari_softseg.widgets.solve_job import Look

if TYPE_CHECKING:
    from napari_softseg.training.first_guess import NetworkUnary

Place = tuple[str, tuple[int | None, ...]]
"""One plane of one image."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the result of a plane depends on: equal ones have equal results."""

    image: str
    image_version: int
    plane: tuple[int | None, ...]
    strokes: int
    """Checksum of the plane's strokes."""
    options: SolveOptions
    model: "NetworkUnary | None"
    """The network that makes the first guess, if one does."""
    look: Look

    @property
    def place(self) -> Place:
        """Where the result goes."""
        return self.image, self.plane

    def same_drawing(self, other: "Wanted") -> bool:
        """Return whether pixels, strokes and network are the same."""
        return (self.place, self.image_version, self.strokes, self.model) == (
            other.place,
            other.image_version,
            other.strokes,
            other.model,
        )

    def same_solution(self, other: "Wanted") -> bool:
        """Return whether only the colours differ."""
        return replace(self, look=other.look) == other

    def same_unary(self, other: "Wanted") -> bool:
        """Return whether the first guess, which only strokes and pixels shape, is the same."""
        alike = self.options.unary == other.options.unary and self.options.weights == other.options.weights
        return alike and self.same_solution(replace(other, options=self.options))
