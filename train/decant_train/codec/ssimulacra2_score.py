"""SSIMULACRA2, the score by which image formats are compared: about 30 is low quality, 50 medium, 70 high, 90
visually lossless. From the package ``ssimulacra2``, a port of the metric in libjxl.
"""

import io

import numpy as np
import ssimulacra2
from PIL import Image
from torch import Tensor


def score(original: Tensor, decoded: Tensor) -> float:
    """SSIMULACRA2 of ``decoded`` to ``original``, both (3, H, W) in [0, 1], rounded to 8 bits."""
    return float(ssimulacra2.compute_ssimulacra2(_png(original), _png(decoded)))


def mean_score(originals: Tensor, decoded: Tensor) -> float:
    """The mean over pictures (n, 3, H, W)."""
    return float(np.mean([score(one, other) for one, other in zip(originals, decoded, strict=True)]))


def _png(picture: Tensor) -> io.BytesIO:
    """A file in memory, which is what the package takes."""
    file = io.BytesIO()
    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    file.seek(0)
    return file
