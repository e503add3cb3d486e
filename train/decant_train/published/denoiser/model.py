"""Family ``denoiser``: a light network after a decoder that brings its pictures closer to the originals.

The published shape: one convolution, three dense blocks with residual fusion, and a fusion of their features
with channel attention. Ours works on pixels packed by 4, where the same multiplications see four times
further and run faster. It starts as the identity: the last convolution is zero.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pytorch_msssim import ssim
from torch import Tensor, nn

from decant_train.common.family import Family


@dataclass(frozen=True)
class DenoiserConfig:
    """``packing``: side of the pixel blocks turned into channels; image sides must be multiples of it."""

    packing: int = 4
    features: int = 64
    growth: int = 32
    layers: int = 3
    blocks: int = 3

    def __post_init__(self) -> None:
        if min(self.packing, self.features, self.growth, self.layers, self.blocks) < 1:
            raise ValueError("every field of the denoiser's configuration must be at least 1")


SIZES = {"default": DenoiserConfig(), "light": DenoiserConfig(features=32, growth=16)}
SSIM_WEIGHT = 0.1  # the loss is MSE + SSIM_WEIGHT (1 - SSIM)
CROP = 128  # pixels, side of the training crops


class DenseBlock(nn.Module):
    """Each layer reads all earlier ones; a 1x1 convolution fuses them and is added to the input."""

    def __init__(self, features: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(features + i * growth, growth, 3, padding=1) for i in range(layers)
        )
        self.fusion = nn.Conv2d(features + layers * growth, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, features, h, w) -> the same."""
        known = [x]
        for layer in self.layers:
            known.append(F.relu(layer(torch.cat(known, 1))))
        fused: Tensor = self.fusion(torch.cat(known, 1))
        return x + fused


class AttentionFusion(nn.Module):
    """Joins the blocks' features: each channel is weighed by what its mean over the picture says."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        joined = features * blocks
        self.squeeze = nn.Conv2d(joined, features // 4 or 1, 1)
        self.excite = nn.Conv2d(features // 4 or 1, joined, 1)
        self.fusion = nn.Conv2d(joined, features, 1)

    def forward(self, blocks: list[Tensor]) -> Tensor:
        """``blocks`` tensors (n, features, h, w) -> (n, features, h, w)."""
        x = torch.cat(blocks, 1)
        weights = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        fused: Tensor = self.fusion(x * weights)
        return fused


class Denoiser(nn.Module):
    """Pictures (n, 3, H, W) in [0, 1] -> the same pictures, mended; H and W multiples of ``packing``."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        pixels = 3 * config.packing**2
        self.first = nn.Conv2d(pixels, config.features, 3, padding=1)
        self.blocks = nn.ModuleList(
            DenseBlock(config.features, config.growth, config.layers) for _ in range(config.blocks)
        )
        self.attention = AttentionFusion(config.features, config.blocks)
        self.last = nn.Conv2d(config.features, pixels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def correction(self, packed: Tensor) -> Tensor:
        """What is added to pictures packed by ``packing``: (n, 3 * packing^2, h, w) -> the same shape."""
        first = F.relu(self.first(packed))
        x, outputs = first, []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        added: Tensor = self.last(first + self.attention(outputs))
        return added

    def forward(self, pictures: Tensor) -> Tensor:
        packed = F.pixel_unshuffle(pictures, self.config.packing).contiguous(
            memory_format=torch.channels_last
        )
        return F.pixel_shuffle(packed + self.correction(packed).float(), self.config.packing).clamp(0, 1)

    def loss(self, decoded: Tensor, originals: Tensor) -> Tensor:
        """MSE + SSIM_WEIGHT (1 - SSIM) of mended ``decoded`` against ``originals``, both (n, 3, H, W); scalar
        float32.
        """
        mended = self(decoded)
        with torch.autocast(mended.device.type, enabled=False):
            similarity: Tensor = ssim(mended, originals, data_range=1.0)
            return F.mse_loss(mended, originals) + SSIM_WEIGHT * (1 - similarity)


FAMILY = Family(name="denoiser", config=DenoiserConfig, sizes=SIZES, build=Denoiser)
