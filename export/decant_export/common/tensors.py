"""Parameters of PyTorch as arrays."""

from typing import Any

import numpy as np


def array(tensor: Any) -> np.ndarray:
    """A parameter or buffer of any shape as float32 numpy of the same shape."""
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)
