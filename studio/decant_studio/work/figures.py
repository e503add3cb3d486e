"""Sizes and distances of a decoded picture, for the tables of the pages."""

import math
from typing import Any

import numpy as np
from decant.ssimulacra2 import SMALLEST, ssimulacra2
from decant_bench.common import metrics

# Beyond so many pixels these metrics take minutes and gigabytes.
SSIM_PIXELS = 6_000_000
SSIMULACRA2_PIXELS = 4_000_000
ERROR_GAIN = 8


def figures(original: np.ndarray, decoded: np.ndarray, size: int) -> dict[str, Any]:
    """Bytes, bits per pixel, PSNR in dB (None where the pictures are equal), SSIM and SSIMULACRA2 (None where
    the picture is too small or too large for them).
    """
    height, width = original.shape[:2]
    side: int = min(height, width)
    pixels: int = height * width
    psnr = metrics.psnr(original, decoded)

    def fits(smallest: int, largest: int) -> bool:
        return smallest <= side and pixels <= largest

    return {
        "bytes": size,
        "bits_per_pixel": 8 * size / pixels,
        "psnr_db": psnr if math.isfinite(psnr) else None,
        "equal": not math.isfinite(psnr),
        "ssim": metrics.ssim(original, decoded) if fits(metrics.WINDOW, SSIM_PIXELS) else None,
        "ssimulacra2": ssimulacra2(original, decoded) if fits(SMALLEST, SSIMULACRA2_PIXELS) else None,
    }


def error_map(original: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """``ERROR_GAIN`` times the absolute error, uint8 (H, W, 3)."""
    return metrics.error_picture(original, decoded, ERROR_GAIN)
