"""PyTorch's outputs for latents and pixels, a batch at a time. Graphs are compared with them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


@torch.no_grad()
def of_latents(network: Callable[[Tensor], Tensor], latents: np.ndarray, batch: int) -> np.ndarray:
    """``network`` of latents float32 (n, ...), ``batch`` of them at once."""
    return np.concatenate([network(part).numpy() for part in torch.split(torch.from_numpy(latents), batch)])


@torch.no_grad()
def of_pixels(network: Callable[[Tensor], Tensor], pixels: np.ndarray, batch: int) -> np.ndarray:
    """``network`` of the pictures float32 (n, 3, H, W) in [0, 1] of pixels uint8 (n, H, W, 3), ``batch`` of
    them at once.
    """
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return np.concatenate([network(part.float() / 255).numpy() for part in torch.split(planes, batch)])
