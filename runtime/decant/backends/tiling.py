"""Pictures of any size through a graph of static shapes: tiles with a halo.

Such a graph has the inputs of its source graph, with fixed sizes, and one more input, ``inside``: 1 within
the picture, 0 outside (``decant_export.devices.tiles``). Each tile is run, and its core is kept. With a halo
as wide as the receptive field, the tiles together equal the result of one run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from decant.errors import BundleError
from decant.formats.manifest import Graph, TensorSpec
from decant.formats.rectangles import Rectangle, Window, whole

INSIDE = "inside"


def is_tile(graph: Graph) -> bool:
    """Whether ``graph`` is the static graph of one tile."""
    return any(spec.name == INSIDE for spec in graph.inputs)


def is_static(graph: Graph) -> bool:
    """Whether ``graph`` has static shapes alone, as NPUs take them."""
    return all(isinstance(size, int) for spec in graph.inputs for size in spec.shape)


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut for a tile graph: the tile's ``side`` and ``halo`` in places of the input grid,
    ``finer`` places of ``inside`` and ``scale`` places of the output a place, and whether the output has its
    channels last.
    """

    side: int
    halo: int
    finer: int
    scale: int
    channels_last: bool

    @classmethod
    def of(cls, graph: Graph, halo: int, where: str) -> "Tiling":
        """That of a tile graph. Raises BundleError where its shapes do not fit together."""
        grid = next((spec for spec in graph.inputs if _is_grid(spec)), None)
        mask = next(spec for spec in graph.inputs if spec.name == INSIDE)
        sizes = [grid, mask, *graph.outputs]
        fixed = all(
            spec is not None and len(spec.shape) == 4 and all(isinstance(n, int) for n in spec.shape)
            for spec in sizes
        )
        if grid is None or not fixed or len(graph.outputs) != 1:
            raise BundleError(f"{where}: a tile graph has static shapes of four dimensions")
        side, width = int(grid.shape[2]), int(grid.shape[3])
        output = [int(n) for n in graph.outputs[0].shape]
        last = output[3] == 3
        rows, finer = output[1] if last else output[2], int(mask.shape[2])
        if width != side or rows % side or finer % side or side <= 2 * halo:
            raise BundleError(
                f"{where}: tiles of {side}x{width} with a halo of {halo}, a mask of {finer} rows and an "
                f"output of {rows} rows do not fit together"
            )
        return cls(side, halo, finer // side, rows // side, last)

    def windows(self, height: int, width: int) -> list[Window]:
        """The tiles of a grid: cores that cover it without overlap, each with the ``side`` x ``side`` places
        that are run for it. These reach beyond the grid on the right and below only where it is smaller than
        a tile.
        """
        bounds = whole(height, width)
        found = []
        for y0, y1, y in _spans(height, self.side, self.halo):
            for x0, x1, x in _spans(width, self.side, self.halo):
                core = Rectangle(y0, y1, x0, x1).cut(bounds)
                found.append(Window(core, Rectangle(y, y + self.side, x, x + self.side)))
        return found

    def run(
        self, inputs: Sequence[np.ndarray], specs: Sequence[TensorSpec], work: Callable[..., np.ndarray]
    ) -> np.ndarray:
        """The output for whole ``inputs``, in the order of ``specs`` without ``inside``; ``work`` runs one
        tile's inputs, in the order of ``specs``. A batch of one.
        """
        given = iter(inputs)
        named = {spec.name: next(given) for spec in specs if spec.name != INSIDE}
        grids = {spec.name for spec in specs if _is_grid(spec)}
        height, width = next(x.shape[2:] for name, x in named.items() if name in grids)
        result: np.ndarray | None = None
        for core, outer in self.windows(height, width):
            tile = {name: _cut(x, outer) if name in grids else x for name, x in named.items()}
            tile[INSIDE] = self._inside(outer, height, width)
            made = work(*(tile[spec.name] for spec in specs))
            if result is None:
                result = np.empty(self._whole_shape(made, height, width), made.dtype)
            there = core.finer(self.scale).within(whole(height * self.scale, width * self.scale))
            here = core.finer(self.scale).within(outer.finer(self.scale))
            if self.channels_last:
                result[(slice(None), *there)] = made[(slice(None), *here)]
            else:
                result[(..., *there)] = made[(..., *here)]
        assert result is not None
        return result

    def _inside(self, outer: Rectangle, height: int, width: int) -> np.ndarray:
        side = self.side * self.finer
        mask = np.zeros((1, 1, side, side), np.float32)
        within = outer.cut(whole(height, width)).finer(self.finer).within(outer.finer(self.finer))
        mask[(..., *within)] = 1
        return mask

    def _whole_shape(self, made: np.ndarray, height: int, width: int) -> tuple[int, ...]:
        rows, columns = height * self.scale, width * self.scale
        if self.channels_last:
            return 1, rows, columns, made.shape[3]
        return 1, made.shape[1], rows, columns


def _is_grid(spec: TensorSpec) -> bool:
    """Whether an input is cut into tiles: four dimensions, rows and columns among them."""
    return spec.name != INSIDE and len(spec.shape) == 4 and spec.shape[2] not in (1, "1")


def _spans(length: int, side: int, halo: int) -> list[tuple[int, int, int]]:
    """(first and end of the core, first place run) of the tiles along one axis.

    The first core has no halo before it, since a picture ends there, and the last tile ends at the picture's
    end, where there is none either.
    """
    spans, at = [], 0
    while at < length:
        first = max(0, min(at - halo, length - side))
        end = length if first + side >= length else first + side - halo
        spans.append((at, end, first))
        at = end
    return spans


def _cut(x: np.ndarray, outer: Rectangle) -> np.ndarray:
    """The part of ``x`` (1, C, rows, columns) that a tile takes, zero beyond its end."""
    bounds = whole(x.shape[2], x.shape[3])
    part = outer.cut(bounds)
    if part == outer:
        return np.ascontiguousarray(x[(..., *outer.within(bounds))])
    cut = np.zeros((*x.shape[:2], outer.height, outer.width), x.dtype)
    cut[(..., *part.within(outer))] = x[(..., *part.within(bounds))]
    return cut
