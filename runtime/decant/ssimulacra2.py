"""SSIMULACRA2 of 8-bit RGB pictures, in numpy: the score by which image formats are compared.

About 30 is low quality, 50 medium, 70 high, 90 visually lossless, 100 identical; it has no lower bound. The
metric is Jon Sneyers' (github.com/cloudinary/ssimulacra2, version 2.1 of April 2023): SSIM and two edge maps
in XYB at six scales, each averaged by its mean and its fourth norm, weighed, and mapped to one number.

This port agrees with published scores of the C++ program within 0.1 where both see the same pixels
(``tests/runtime/test_ssimulacra2.py``). The PyPI package ``ssimulacra2`` 0.3.0 mirrors the picture at some
of its borders, where the original sees black: on the same photograph it is up to 4.6 points off.
"""

import math
from functools import cache

import numpy as np

SMALLEST = 8  # pixels a side: the first scale needs as many
SCALES = 6

# XYB (libjxl, lib/jxl/cms/opsin_params.h)
ABSORBANCE = np.array(
    [
        [0.30, 1 - 0.30 - 0.078, 0.078],
        [0.23, 1 - 0.23 - 0.078, 0.078],
        [0.24342268924547819, 0.20476744424496821, 1 - 0.24342268924547819 - 0.20476744424496821],
    ],
    np.float32,
)
BIAS = np.float32(0.0037930732552754493)
C2 = np.float32(0.0009)  # of SSIM
_SIGMA = 1.5  # of the blur, pixels

# Weights by channel (X, Y, B), scale and norm (mean, fourth norm): of the SSIM map, of edges that only the
# decoded picture has (blocks, ringing), and of edges that it lost (blur).
# fmt: off
WEIGHTS = np.array([
    [[[0, 0.0007376606707406586, 0], [0, 0.0007793481682867309, 0]],
     [[0, 0.0004371155730107379, 0], [1.1041726426657346, 0.00066284834129271, 0.00015231632783718752]],
     [[0, 0.0016406437456599754, 0], [1.8422455520539298, 11.441172603757666, 0]],
     [[0.0007989109436015163, 0.000176816438078653, 0], [1.8787594979546387, 10.94906990605142, 0]],
     [[0.0007289346991508072, 0.9677937080626833, 0],
      [0.00014003424285435884, 0.9981766977854967, 0.00031949755934435053]],
     [[0.0004550992113792063, 0, 0], [0.0013648766163243398, 0, 0]]],
    [[[0, 0, 0], [7.466890328078848, 0, 17.445833984131262]],
     [[0.0006235601634041466, 0, 0], [6.683678146179332, 0.00037724407979611296, 1.027889937768264]],
     [[225.20515300849274, 0, 0], [19.213238186143016, 0.0011401524586618361, 0.001237755635509985]],
     [[176.39317598450694, 0, 0], [24.43300999870476, 0.28520802612117757, 0.0004485436923833408]],
     [[0, 0, 0], [34.77906344483772, 44.835625328877896, 0]],
     [[0, 0, 0], [0, 0, 0]]],
    [[[0, 0.0008680556573291698, 0], [0, 0, 0]],
     [[0, 0.0005313191874358747, 0], [0.00016533814161379112, 0, 0]],
     [[0, 0, 0], [0.0004179171803251336, 0.0017290828234722833, 0]],
     [[0.0020827005846636437, 0, 0], [8.826982764996862, 23.19243343998926, 0]],
     [[95.1080498811086, 0.9863978034400682, 0.9834382792465353],
      [0.0012286405048278493, 171.2667255897307, 0.9807858872435379]],
     [[0, 0, 0], [0.0005130064588990679, 0, 0.00010854057858411537]]],
])
# fmt: on


def ssimulacra2(original: np.ndarray, decoded: np.ndarray) -> float:
    """The score of ``decoded`` to ``original``, both uint8 (H, W, 3) in sRGB; 100 where they are equal.

    Raises ValueError for other types or shapes, and for sides below ``SMALLEST``.
    """
    _check(original, decoded)
    pair = [
        np.ascontiguousarray(linear_light()[picture].transpose(2, 0, 1)) for picture in (original, decoded)
    ]
    scales = [_terms(_xyb(pair[0]), _xyb(pair[1]))]
    while len(scales) < SCALES and min(pair[0].shape[1:]) >= SMALLEST:
        pair = [_halved(picture) for picture in pair]
        scales.append(_terms(_xyb(pair[0]), _xyb(pair[1])))
    terms = np.stack(scales, 1).ravel()
    # Pictures too small for all scales shift the weights of the channels, in the original too.
    return _score(float(WEIGHTS.ravel()[: terms.size] @ terms))


def _check(original: np.ndarray, decoded: np.ndarray) -> None:
    if original.shape != decoded.shape or original.ndim != 3 or original.shape[2] != 3:
        raise ValueError(
            f"pictures of shapes {original.shape} and {decoded.shape}; twice (height, width, 3) expected"
        )
    if original.dtype != np.uint8 or decoded.dtype != np.uint8:
        raise ValueError(f"pictures of {original.dtype} and {decoded.dtype}; uint8 expected")
    if min(original.shape[:2]) < SMALLEST:
        height, width = original.shape[:2]
        raise ValueError(f"a picture of {width}x{height} pixels; SSIMULACRA2 needs {SMALLEST} a side")


@cache
def linear_light() -> np.ndarray:
    """Linear light of the 256 sRGB values, float32 (IEC 61966-2-1)."""
    values = np.arange(256) / 255
    linear: np.ndarray = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def _xyb(linear: np.ndarray) -> np.ndarray:
    """Linear RGB (3, h, w) -> X, Y and B - Y, scaled and moved to positive values as the metric wants."""
    mixed = np.einsum("ij,jhw->ihw", ABSORBANCE, linear) + BIAS
    red, green, blue = np.cbrt(np.maximum(mixed, 0)) - np.cbrt(BIAS)
    x, y = (red - green) / 2, (red + green) / 2
    shown: np.ndarray = np.stack(
        [x * np.float32(14) + np.float32(0.42), y + np.float32(0.01), blue - y + np.float32(0.55)]
    )
    return shown


def _terms(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weighed terms of one scale of two XYB pictures (3, h, w): (channel, norm, map) as in WEIGHTS."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    numerator = 2 * (_blurred(x * y) - mean_x * mean_y) + C2
    denominator = (_blurred(x * x) - mean_x * mean_x) + (_blurred(y * y) - mean_y * mean_y) + C2
    loss = np.maximum(1 - (1 - np.square(mean_x - mean_y)) * numerator / denominator, 0)
    edges = (1 + np.abs(y - mean_y)) / (1 + np.abs(x - mean_x)) - 1
    maps = (loss, np.maximum(edges, 0), np.maximum(-edges, 0))
    means = [one.mean((1, 2), dtype=np.float64) for one in maps]
    norms = [np.mean(np.square(np.square(one)), (1, 2), dtype=np.float64) ** 0.25 for one in maps]
    terms: np.ndarray = np.stack([np.stack(means, -1), np.stack(norms, -1)], 1)
    return terms


@cache
def blur_taps() -> np.ndarray:
    """The window of the blur: a sum of truncated cosines (Charalampidis 2016), which libjxl computes by a
    recursion of the same response.
    """
    radius = round(3.2795 * _SIGMA + 0.2546)
    omega = np.array([1, 3, 5]) * math.pi / (2 * radius)
    p = np.array([1, -1, 1]) / np.tan(omega / 2)
    r = np.array([1, -1, 1]) * p * p / np.sin(omega)
    rho = np.exp(-0.5 * _SIGMA**2 * omega**2) / radius
    d_13, d_35, d_51 = p[0] * r[1] - r[0] * p[1], p[1] * r[2] - r[1] * p[2], p[2] * r[0] - r[2] * p[0]
    zeta = np.array([d_35 / d_13, d_51 / d_13, 1])
    beta = np.linalg.solve(np.stack([p, r, zeta]), np.array([1.0, radius**2 - _SIGMA**2, float(zeta @ rho)]))
    taps: np.ndarray = beta @ np.cos(np.outer(omega, np.arange(-radius, radius + 1)))
    return taps


def _blurred(picture: np.ndarray) -> np.ndarray:
    """Blur of (3, h, w); what lies outside counts as 0."""
    taps = blur_taps().astype(np.float32)
    radius = len(taps) // 2
    for axis in (1, 2):
        margins = [(0, 0), (0, 0), (0, 0)]
        margins[axis] = (radius, radius)
        padded, size = np.pad(picture, margins), picture.shape[axis]
        parts = [
            padded[:, k : k + size] if axis == 1 else padded[:, :, k : k + size] for k in range(len(taps))
        ]
        picture = parts[radius] * taps[radius]
        for k in range(radius):  # the taps are symmetric
            picture += (parts[k] + parts[-1 - k]) * taps[k]
    return picture


def _halved(picture: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of (3, h, w); the last row and column of odd sides count twice."""
    _, height, width = picture.shape
    even = np.pad(picture, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    halved: np.ndarray = (
        even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
    ) / 4
    return halved


def _score(total: float) -> float:
    """The sum of weighed terms on the scale of the scores."""
    value = 0.9562382616834844 * total
    value = 2.326765642916932 * value - 0.020884521182843837 * value**2 + 6.248496625763138e-05 * value**3
    return 100 - 10 * value**0.6276336467831387 if value > 0 else 100.0
