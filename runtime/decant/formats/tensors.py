"""Tensors of tables.safetensors, checked as they are taken."""

from collections.abc import Mapping

import numpy as np

from decant.errors import BundleError


def tensor_of(
    tensors: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]
) -> np.ndarray:
    """The table of this name. Raises BundleError where it is another."""
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != dtype or tensor.shape != shape:
        raise BundleError(f"tables: {name} is not {np.dtype(dtype)} {shape}")
    return tensor
