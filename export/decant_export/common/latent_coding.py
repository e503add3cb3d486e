"""From the name of a coding to a latent layout, with the ranges that integers need."""

import re

import numpy as np
from decant.layouts.vector import VectorLayout

from decant_export.errors import ExportError

_UINT = re.compile(r"uint([1-9]|1[0-6])", re.ASCII)


def vector_layout(coding: str, latents: np.ndarray) -> VectorLayout:
    """The vector layout of ``coding``: float16, float32, or uint1 to uint16.

    Integers span, in each dimension, the range of ``latents`` (float32 (k, dim)); a dimension that never
    changes gets step 0. Raises ExportError for another name.
    """
    dim = latents.shape[1]
    if coding in ("float16", "float32"):
        return VectorLayout(dim, coding)
    found = _UINT.fullmatch(coding)
    if found is None:
        raise ExportError(f"latent coding {coding!r}; float16, float32 or uint1 to uint16 expected")
    bits = int(found[1])
    lowest, highest = latents.min(axis=0), latents.max(axis=0)
    step = (highest.astype(np.float64) - lowest) / (2**bits - 1)
    return VectorLayout(dim, "uint", bits, lowest.astype(np.float32), step.astype(np.float32))
