"""The network: one number per block and colour, and a linear layer back to pixels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from decant_train.common.family import Family
from torch import Tensor, nn


@dataclass(frozen=True)
class ToyConfig:
    """``image_size`` pixels a side, in blocks of ``block``."""

    image_size: int = 16
    block: int = 8

    @property
    def latent_dim(self) -> int:
        """Numbers in a latent vector."""
        return 3 * (self.image_size // self.block) ** 2


class Toy(nn.Module):
    """Means of blocks as latents; the decoder starts as the one that repeats them."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = nn.Linear(config.latent_dim, 3 * config.image_size**2)
        side = config.image_size // config.block
        with torch.no_grad():
            unit = torch.eye(config.latent_dim).reshape(-1, 3, side, side)
            spread = F.interpolate(unit, scale_factor=config.block, mode="nearest").flatten(1)
            self.decoder.weight.copy_(spread.T)
            self.decoder.bias.zero_()

    def encode(self, pictures: Tensor) -> Tensor:
        """(n, 3, H, W) in 0..1 -> (n, latent_dim)."""
        return F.avg_pool2d(pictures, self.config.block).flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """(n, latent_dim) -> (n, 3, H, W) in 0..1."""
        size = self.config.image_size
        pictures: Tensor = self.decoder(latents).reshape(-1, 3, size, size).clamp(0, 1)
        return pictures


FAMILY = Family(name="toy", config=ToyConfig, sizes={"small": ToyConfig()}, build=Toy)
