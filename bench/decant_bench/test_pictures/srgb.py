"""The transfer function of sRGB (IEC 61966-2-1): 8-bit pixels and linear light."""

import numpy as np
import numpy.typing as npt


def linear(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Linear light, 0 to 1, of uint8 ``pixels``; of the same shape."""
    coded = pixels / 255.0
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def pixels(light: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """uint8 pixels of linear ``light``, which is clipped to 0 to 1; of the same shape."""
    shown = np.clip(light, 0, 1)
    coded = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * coded), np.uint8)
