"""A distance between two pictures in the features of SqueezeNet 1.1, given its ImageNet weights.

Features are taken at the seven layers of LPIPS (Zhang, Isola, Efros, Shechtman, Wang 2018, arXiv:1801.03924):
after the first convolution, and after the fires that end each scale and follow it. Each is divided by its
length over the channels at every position. Squared differences are summed over channels, averaged over
positions, and summed over the seven.

This is the distance of the paper's "baseline" networks, not LPIPS. LPIPS has weights of channels that were
fitted to people's judgements, and to torchvision's network only. If a file also has these weights
(``lin0.model.1.weight`` to ``lin6.model.1.weight``), they are used, and the distance is called LPIPS.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from decant.formats.paths import takes_paths

from decant_bench.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 17  # pixels a side: the third pooling must find something
PLAIN = "feature distance (SqueezeNet 1.1, not LPIPS)"
LEARNT = "LPIPS (SqueezeNet 1.1, linear weights of the file)"

_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1
_DEVIATION = (0.229, 0.224, 0.225)
_FIRES = (1, 4, 7, 10, 13, 16, 19, 22)  # number of each fire's squeeze convolution
_POOLED = (1, 7, 13)  # fires with a pooling before them
_TAPS = (4, 10, 13, 16, 19, 22)  # fires whose output is compared
_EPS = 1e-10


class FeatureDistance:
    """Loaded weights. ``name`` says which distance they give. Safe to use from several threads."""

    @takes_paths
    def __init__(self, path: Path) -> None:
        """Read ``path``: an .npz with ``conv0.weight`` ... ``conv24.bias`` (OIHW, float16 or float32). Raises
        BenchError for another file, OSError, MissingExtraError without torch.
        """
        try:
            import torch
        except ImportError as error:
            from decant.errors import MissingExtraError

            raise MissingExtraError(
                f"features need torch ({error}): pip install 'decant-codec[train]'"
            ) from None
        stored = _read(path)
        self._weights = {key: torch.from_numpy(value.astype(np.float32)) for key, value in stored.items()}
        linear = [stored.get(f"lin{index}.model.1.weight") for index in range(1 + len(_TAPS))]
        given = [value for value in linear if value is not None]
        if given and len(given) < len(linear):
            raise BenchError(f"{path}: {len(given)} of {len(linear)} linear weights; all or none expected")
        self._linear = [torch.from_numpy(value.astype(np.float32).reshape(1, -1, 1, 1)) for value in given]
        self.name = LEARNT if given else PLAIN

    def __call__(self, original: np.ndarray, decoded: np.ndarray) -> float | None:
        """Distance of two pictures, uint8 (H, W, 3): 0 if equal; None if a side is below SMALLEST."""
        import torch

        if min(original.shape[:2]) < SMALLEST:
            return None
        with torch.inference_mode():
            pair = torch.from_numpy(np.stack([original, decoded]).transpose(0, 3, 1, 2)) / 255
            total = torch.zeros(())
            for index, features in enumerate(self._features(pair)):
                unit = features / (features.square().sum(1, keepdim=True).sqrt() + _EPS)
                squares = (unit[:1] - unit[1:]).square()
                weighed = squares * self._linear[index] if self._linear else squares
                total = total + weighed.sum(1).mean()
            return float(total)

    def _features(self, pixels: "Tensor") -> "list[Tensor]":
        """RGB (n, 3, H, W) in 0..1 -> the seven features."""
        import torch
        import torch.nn.functional as F

        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION))
        x = F.relu(self._convolve((pixels - mean) / deviation, 0, stride=2))
        found = [x]
        for fire in _FIRES:
            if fire in _POOLED:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            squeezed = F.relu(self._convolve(x, fire))
            wide = self._convolve(squeezed, fire + 2, padding=1)
            x = F.relu(torch.cat([self._convolve(squeezed, fire + 1), wide], 1))
            if fire in _TAPS:
                found.append(x)
        return found

    def _convolve(self, x: "Tensor", number: int, stride: int = 1, padding: int = 0) -> "Tensor":
        import torch.nn.functional as F

        weight, bias = (self._weights[f"conv{number}.{part}"] for part in ("weight", "bias"))
        return F.conv2d(x, weight, bias, stride, padding)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays that are needed, of the right number of axes; nothing that is pickled."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in file.files}
    except OSError:
        raise
    except Exception as error:  # numpy's reader raises whatever a broken file leads it to
        raise BenchError(f"{path}: no .npz file of arrays: {error}") from None
    for number in range(25):
        for part, axes in (("weight", 4), ("bias", 1)):
            array = found.get(f"conv{number}.{part}")
            if array is None or array.ndim != axes:
                raise BenchError(f"{path}: conv{number}.{part} is not there; SqueezeNet 1.1 expected")
    return found
