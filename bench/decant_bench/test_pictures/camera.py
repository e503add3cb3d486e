"""A camera's sensor as a model: what a photograph would have been in little light.

The picture is taken for the scene. Light falls on a sensor behind a Bayer filter (red, green, green, blue);
each pixel counts electrons with Poisson's noise, and reading adds Gaussian noise (Foi and others, "Practical
Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE Transactions on Image
Processing 17, 2008). The mosaic is developed bilinearly, without any denoising.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from decant_bench.test_pictures import srgb

READ_NOISE = 3.0  # electrons, standard deviation
# Electrons behind each filter from the same white light; developing evens them out, noise included.
SENSITIVITY = (0.55, 1.0, 0.7)
_KERNELS = (
    np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float64),
    np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float64),
)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Exposure:
    """``white``: electrons of a green pixel where the scene is white; ``brightness``: by how much light the
    developed picture is darker than the scene (1: not at all), a factor in linear light.
    """

    white: float
    brightness: float = 1.0

    @property
    def described(self) -> str:
        """In words."""
        dark = "" if self.brightness == 1 else f", developed at {self.brightness:g} of the brightness"
        return f"{self.white:g} electrons at white, {READ_NOISE:g} of read noise{dark}"


def take(scene: Pixels, exposure: Exposure, seed: int) -> Pixels:
    """The photograph of ``scene`` (uint8 (H, W, 3), sRGB), of the same shape; the same for the same seed."""
    random = np.random.default_rng(seed)
    full = exposure.white * np.array(SENSITIVITY)
    electrons = srgb.linear(scene) * full
    masks = _bayer(scene.shape[0], scene.shape[1])
    light = (electrons * masks).sum(axis=2)
    counted = random.poisson(light) + random.normal(0, READ_NOISE, light.shape)
    developed = np.stack([_demosaic(counted / full[c], masks[..., c], c) for c in range(3)], axis=2)
    return srgb.pixels(exposure.brightness * developed)


def _bayer(height: int, width: int) -> npt.NDArray[np.float64]:
    """Which filter lies before which pixel: (height, width, 3), zeros and ones."""
    masks = np.zeros((height, width, 3))
    masks[::2, ::2, 0] = masks[::2, 1::2, 1] = masks[1::2, ::2, 1] = masks[1::2, 1::2, 2] = 1
    return masks


def _demosaic(
    values: npt.NDArray[np.float64], mask: npt.NDArray[np.float64], channel: int
) -> npt.NDArray[np.float64]:
    from scipy.ndimage import convolve

    kernel = _KERNELS[int(channel == 1)]
    spread = convolve(values * mask, kernel, mode="constant")
    return np.asarray(spread / convolve(mask, kernel, mode="constant"), np.float64)
