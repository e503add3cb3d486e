"""A session of a tile graph that takes pictures of any size (``decant.backends.tiling``)."""

import numpy as np

from decant.backends.session import Pending, Session
from decant.backends.tiling import INSIDE, Tiling
from decant.errors import BundleError
from decant.formats.manifest import Graph


class TileSession:
    """Runs a whole picture through ``tile``, the session of one tile's ``graph``."""

    def __init__(self, tile: Session, graph: Graph, halo: int, where: str) -> None:
        """``halo``: how far the graph looks, in places of its input. Raises BundleError for a graph whose
        shapes are not those of a tile.
        """
        self._label = f"{where}: {graph.label}"
        self.tiling = Tiling.of(graph, halo, self._label)
        self._tile, self._specs = tile, graph.inputs
        self.runtime, self.runtime_version = tile.runtime, tile.runtime_version
        self.requested_device, self.device = tile.requested_device, tile.device
        self.device_name, self.precision = tile.device_name, tile.precision
        self.driver = tile.driver

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """See Session.run: the inputs without ``inside``, a batch of one. Raises BundleError."""
        wanted = [spec for spec in self._specs if spec.name != INSIDE]
        if len(inputs) != len(wanted):
            raise BundleError(f"{self._label}: {len(inputs)} inputs given; it takes {len(wanted)}")
        for x, spec in zip(inputs, wanted, strict=True):
            if x.ndim != len(spec.shape) or x.shape[:2] != tuple(spec.shape[:2]):
                raise BundleError(f"{self._label}: {spec.name} is {x.shape}; {spec.shape[:2]} first expected")
        return self.tiling.run(inputs, self._specs, self._tile.run)

    def start(self, *inputs: np.ndarray) -> Pending:
        """See Session.start."""
        made = self.run(*inputs)
        return lambda: made
