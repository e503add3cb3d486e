"""Cutting a picture for graphs with a limited receptive field: rectangles, windows with a halo, tiles.

A window is run, and its core is kept. Windows end at the border of the picture, where graphs pad with zeros
as they do for a whole picture. So windows with a halo of the receptive field give the same values as one run
over the whole picture.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Rectangle(NamedTuple):
    """Rows ``y0`` to ``y1`` - 1 and columns ``x0`` to ``x1`` - 1 of any grid."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.x1 - self.x0

    @property
    def empty(self) -> bool:
        """Whether it holds nothing."""
        return self.y0 >= self.y1 or self.x0 >= self.x1

    def cut(self, other: "Rectangle") -> "Rectangle":
        """The intersection; it may be empty."""
        return Rectangle(
            max(self.y0, other.y0), min(self.y1, other.y1), max(self.x0, other.x0), min(self.x1, other.x1)
        )

    def grown(self, margin: int, bounds: "Rectangle") -> "Rectangle":
        """The rectangle with ``margin`` more on each side, within ``bounds``."""
        wide = Rectangle(self.y0 - margin, self.y1 + margin, self.x0 - margin, self.x1 + margin)
        return wide.cut(bounds)

    def finer(self, factor: int) -> "Rectangle":
        """The same rectangle on a grid that is ``factor`` times finer."""
        return Rectangle(*(factor * edge for edge in self))

    def coarser(self, factor: int) -> "Rectangle":
        """The positions of a grid ``factor`` times coarser that overlap it."""
        return Rectangle(self.y0 // factor, -(-self.y1 // factor), self.x0 // factor, -(-self.x1 // factor))

    def within(self, outer: "Rectangle") -> tuple[slice, slice]:
        """Its rows and columns in an array that holds ``outer``."""
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )


class Window(NamedTuple):
    """A window: ``outer`` is computed, and ``core`` is kept of it."""

    core: Rectangle
    outer: Rectangle


def whole(height: int, width: int) -> Rectangle:
    """All of a grid."""
    return Rectangle(0, height, 0, width)


def windows(
    cells: Iterable[tuple[int, int, int, int]], wanted: Rectangle, halo: int, bounds: Rectangle
) -> list[Window]:
    """A window for each of ``cells`` that overlaps ``wanted``. Its core is their intersection."""
    cores = (Rectangle(*cell).cut(wanted) for cell in cells)
    return [Window(core, core.grown(halo, bounds)) for core in cores if not core.empty]


def squares(bounds: Rectangle, side: int) -> Iterator[Rectangle]:
    """``bounds`` cut into squares of ``side`` from its top left, row by row; the last ones may be smaller."""
    for y in range(bounds.y0, bounds.y1, side):
        for x in range(bounds.x0, bounds.x1, side):
            yield Rectangle(y, y + side, x, x + side).cut(bounds)
