"""SSIMULACRA2 (``decant.ssimulacra2``) of pictures as tensors."""

import numpy as np
from decant.ssimulacra2 import ssimulacra2
from torch import Tensor


def score(original: Tensor, decoded: Tensor) -> float:
    """SSIMULACRA2 of ``decoded`` to ``original``, both (3, H, W) in [0, 1], rounded to 8 bits."""
    return ssimulacra2(_pixels(original), _pixels(decoded))


def mean_score(originals: Tensor, decoded: Tensor) -> float:
    """The mean over pictures (n, 3, H, W)."""
    return float(np.mean([score(one, other) for one, other in zip(originals, decoded, strict=True)]))


def _pixels(picture: Tensor) -> np.ndarray:
    """uint8 (H, W, 3)."""
    pixels: np.ndarray = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels
