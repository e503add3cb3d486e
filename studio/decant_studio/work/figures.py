"""Sizes and distances of a decoded picture, for the tables of the pages."""

import io
import math
from typing import Any

import numpy as np
from decant_bench.common import metrics
from PIL import Image

# Beyond so many pixels these metrics take minutes and gigabytes.
SSIM_PIXELS = 6_000_000
SSIMULACRA2_PIXELS = 4_000_000
SSIMULACRA2_SIDE = 8  # pixels, at least
ERROR_GAIN = 8


def figures(original: np.ndarray, decoded: np.ndarray, size: int) -> dict[str, Any]:
    """Bytes, bits per pixel, PSNR in dB (None where the pictures are equal), SSIM and SSIMULACRA2 (None where
    the picture is too small or too large for them).
    """
    height, width = original.shape[:2]
    psnr = metrics.psnr(original, decoded)
    fits = min(height, width) >= metrics.WINDOW and height * width <= SSIM_PIXELS
    return {
        "bytes": size,
        "bits_per_pixel": 8 * size / (width * height),
        "psnr_db": psnr if math.isfinite(psnr) else None,
        "equal": not math.isfinite(psnr),
        "ssim": metrics.ssim(original, decoded) if fits else None,
        "ssimulacra2": ssimulacra2(original, decoded),
    }


def ssimulacra2(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """SSIMULACRA2 (100: equal; 90: visually lossless), by the package of that name; None where it is not
    installed or the picture does not fit.
    """
    height, width = original.shape[:2]
    if min(height, width) < SSIMULACRA2_SIDE or height * width > SSIMULACRA2_PIXELS:
        return None
    try:
        from ssimulacra2 import compute_ssimulacra2
    except ImportError:
        return None
    return float(compute_ssimulacra2(_png(original), _png(decoded)))


def error_map(original: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """``ERROR_GAIN`` times the absolute error, uint8 (H, W, 3)."""
    return metrics.error_picture(original, decoded, ERROR_GAIN)


def _png(pixels: np.ndarray) -> io.BytesIO:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
    stream.seek(0)
    return stream
