"""Tables of symbols with and without runs, and their coder."""

from typing import Any

import grid_tables
import numpy as np
import pytest
from decant.codec.entropy.rans import EntropyTables

RUNS = grid_tables.recommended() | {5: 3, 9: 1, 14: 5, 31: 1023}
DENSE = EntropyTables.from_tensors(grid_tables.entropy_tensors())
SPARSE = EntropyTables.from_tensors(grid_tables.entropy_tensors(RUNS))
FITTED = EntropyTables.from_tensors(grid_tables.entropy_tensors(grid_tables.recommended()))
BOTH = pytest.mark.parametrize("tables", [DENSE, SPARSE], ids=["dense", "runs"])
EITHER = pytest.mark.parametrize("tables", [DENSE, FITTED], ids=["dense", "recommended"])


def encode(tables: EntropyTables, symbols: np.ndarray, scale_indices: np.ndarray) -> bytes:
    """A stream of one part."""
    return tables.encode([(symbols, scale_indices)])


def decode(tables: EntropyTables, stream: bytes | memoryview, *parts: np.ndarray) -> Any:
    """The symbols of a stream: an array for one part's classes, else a list of them."""
    decoder = tables.decoder(stream, "x")
    symbols = [decoder.decode(scale_indices) for scale_indices in parts]
    decoder.finish()
    return symbols if len(parts) > 1 else symbols[0]
