"""PSNR, SSIM and MS-SSIM of 8-bit RGB pictures, in numpy and scipy.

SSIM and MS-SSIM use the window of their papers: Gaussian, 11 x 11, sigma 1.5, K1 = 0.01, K2 = 0.03, data
range 255, population covariances, borders left out, per colour channel and then averaged. SSIM: Wang, Bovik,
Sheikh, Simoncelli 2004. MS-SSIM: Wang, Simoncelli, Bovik 2003, five scales.
"""

import math

import numpy as np

WINDOW = 11  # pixels
SIGMA = 1.5
SSIM_PARAMETERS = {
    "window": "gaussian 11x11",
    "sigma": SIGMA,
    "k1": 0.01,
    "k2": 0.03,
    "data_range": 255,
    "covariance": "population",
    "channels": "per channel, averaged",
}
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003, section 3.2
# 161 pixels: an odd side grows by one before it is halved, and the window must fit the last scale.
MS_SSIM_SMALLEST = (WINDOW - 1) * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1

_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """PSNR in dB over all values of two pictures, uint8 (H, W, 3); infinity when they are equal.

    Raises ValueError for other types or shapes, as all functions here do.
    """
    _check(original, decoded, 1)
    difference = original.astype(np.int32) - decoded
    mse = float(np.mean(np.square(difference), dtype=np.float64))
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def ssim(original: np.ndarray, decoded: np.ndarray) -> float:
    """SSIM of two pictures, uint8 (H, W, 3), by scikit-image with SSIM_PARAMETERS; sides of at least 11
    pixels.
    """
    from skimage.metrics import structural_similarity

    _check(original, decoded, WINDOW)
    similarity: float = structural_similarity(  # type: ignore[no-untyped-call]
        original,
        decoded,
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=SIGMA,
        use_sample_covariance=False,
    )
    return float(similarity)


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float:
    """MS-SSIM of two pictures, uint8 (H, W, 3); sides of at least 161 pixels.

    Scales follow by 2 x 2 means; an odd side is padded with zeros on both ends first and negative contrast
    terms count as zero, both as in pytorch_msssim, whose figures codec papers report.
    """
    _check(original, decoded, MS_SSIM_SMALLEST)
    x = np.ascontiguousarray(original.transpose(2, 0, 1), np.float32)
    y = np.ascontiguousarray(decoded.transpose(2, 0, 1), np.float32)
    product = np.ones(len(x))
    last = len(MS_SSIM_WEIGHTS) - 1
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        luminance_contrast, contrast = _ssim_terms(x, y)
        term = luminance_contrast if scale == last else contrast
        product *= np.maximum(term, 0) ** weight
        if scale < last:
            x, y = _halve(x), _halve(y)
    return float(product.mean())


def error_picture(original: np.ndarray, decoded: np.ndarray, gain: int = 4) -> np.ndarray:
    """``gain`` times the absolute difference, clipped: uint8 (H, W, 3), black where the pictures agree."""
    _check(original, decoded, 1)
    difference = np.abs(original.astype(np.int32) - decoded)
    error: np.ndarray = np.minimum(gain * difference, 255).astype(np.uint8)
    return error


def _check(original: np.ndarray, decoded: np.ndarray, smallest: int) -> None:
    if original.shape != decoded.shape:
        raise ValueError(f"pictures of shapes {original.shape} and {decoded.shape} cannot be compared")
    if original.dtype != np.uint8 or decoded.dtype != np.uint8:
        raise ValueError(f"pictures of {original.dtype} and {decoded.dtype}; uint8 expected")
    if original.ndim != 3 or original.shape[2] != 3:
        raise ValueError(f"a picture of shape {original.shape}; (height, width, 3) expected")
    if min(original.shape[:2]) < smallest:
        height, width = original.shape[:2]
        raise ValueError(
            f"a picture of {width}x{height} pixels; this metric needs at least {smallest} a side"
        )


def _ssim_terms(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per channel: mean of SSIM, and mean of its contrast-structure part. x, y: float32 (3, h, w)."""
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x * mean_x
    var_y = _blur(y * y) - mean_y * mean_y
    covariance = _blur(x * y) - mean_x * mean_y
    contrast = (2 * covariance + _C2) / (var_x + var_y + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    whole = (luminance * contrast).mean(axis=(1, 2), dtype=np.float64)
    return whole, contrast.mean(axis=(1, 2), dtype=np.float64)


def _blur(x: np.ndarray) -> np.ndarray:
    """Gaussian window over the last two axes, borders cut off: (c, h, w) -> (c, h - 10, w - 10)."""
    from scipy.ndimage import correlate1d

    offsets = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    margin = WINDOW // 2
    rows: np.ndarray = correlate1d(x, kernel, axis=-1)[:, :, margin:-margin]
    blurred: np.ndarray = correlate1d(rows, kernel, axis=-2)[:, margin:-margin]
    return blurred


def _halve(x: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: (c, h, w) -> (c, h // 2, w // 2), odd sides padded."""
    _, height, width = x.shape
    x = np.pad(x, ((0, 0), (height % 2, height % 2), (width % 2, width % 2)))
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    halved: np.ndarray = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    return halved
