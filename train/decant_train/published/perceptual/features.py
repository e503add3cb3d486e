"""VGG-19 features for the perceptual loss, from weights that the user gives as an npz file.

The file holds VGG-19's convolutions (Simonyan, Zisserman 2015) from the first on, as many as are wanted and
in any width, each as NAME.weight (out, in, 3, 3) and NAME.bias, names sorting as "2", "5", "9" or "conv11",
"conv12", "conv21"; before them a 1x1 convolution "0" or "conv0" that takes RGB in [0, 1] to what the first
convolution expects. Names that end in "_aux" are left out. Convolutions pad by reflection, as the normalised
weights (Gatys et al. 2016) are used; max pooling follows the 2nd, 4th, 8th and 12th.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from decant.formats.paths import takes_paths
from torch import Tensor, nn

POOL_BEFORE = (2, 4, 8, 12)  # index of the convolution, from 0
LAYERS = 16  # convolutions of VGG-19


class VggFeatures(nn.Module):
    """Pictures -> the rectified features of the last convolution; nothing of it is trained."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]]) -> None:
        """``layers``: weight and bias of the 1x1 convolution and of the 3x3 ones, in order."""
        super().__init__()
        self.layers = nn.ModuleList()
        for weight, bias in layers:
            out, channels, side, _ = weight.shape
            layer = nn.Conv2d(channels, out, side, padding=side // 2, padding_mode="reflect")
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            layer.load_state_dict({"weight": weight, "bias": bias})
            self.layers.append(layer)
        self.requires_grad_(False)

    @property
    def stride(self) -> int:
        """Pixels a side of one position of the features."""
        return 1 << sum(index < len(self.layers) - 1 for index in POOL_BEFORE)

    def forward(self, pictures: Tensor) -> Tensor:
        """float32 (n, 3, H, W) in [0, 1], sides of at least 2 strides -> (n, channels, H/stride, W/stride)"""
        x = self.layers[0](pictures.contiguous(memory_format=torch.channels_last))
        for index, layer in enumerate(self.layers[1:]):
            x = F.relu(layer(F.max_pool2d(x, 2) if index in POOL_BEFORE else x))
        features: Tensor = x
        return features

    def distance(self, pictures: Tensor, others: Tensor) -> Tensor:
        """Mean absolute difference of the features of ``pictures`` and ``others``, both (n, 3, H, W) in [0,
        1]; scalar float32.
        """
        with torch.no_grad():
            target = self(others)
        distance: Tensor = (self(pictures).float() - target.float()).abs().mean()
        return distance


@takes_paths
def load(path: Path) -> VggFeatures:
    """The features of an npz file. Raises ValueError for a file that holds none, OSError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError) as error:
        raise ValueError(f"{path} is no npz file of arrays: {error}") from None
    names = {name.removesuffix(".weight") for name in arrays if name.endswith(".weight")}
    order = sorted((name for name in names if not name.endswith("_aux")), key=_number)
    layers: list[tuple[Tensor, Tensor]] = []
    for name in order:
        weight, bias = arrays[f"{name}.weight"], arrays.get(f"{name}.bias")
        side = 1 if not layers else 3
        if (
            bias is None
            or weight.ndim != 4
            or weight.shape[2:] != (side, side)
            or bias.shape != weight[:, 0, 0, 0].shape
        ):
            raise ValueError(f"{path}: {name} is not a {side}x{side} convolution with its bias")
        layers.append((torch.from_numpy(weight).float(), torch.from_numpy(bias).float()))
    widths = [3, *(weight.shape[0] for weight, _ in layers)]
    inputs = [weight.shape[1] for weight, _ in layers]
    if not 2 <= len(layers) <= LAYERS + 1 or inputs != widths[:-1]:
        raise ValueError(
            f"{path} holds no VGG-19 convolutions in a row: {', '.join(order) or 'no weights at all'}"
        )
    return VggFeatures(layers)


def _number(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name if c.isdigit())
    return int(digits or -1), name
