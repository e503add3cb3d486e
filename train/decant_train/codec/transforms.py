"""Analysis and synthesis transform of the codec (nonlinear transform coding: Ballé et al. 2021,
arXiv:2007.03034). The synthesis is shallow, as in Yang and Mandt 2023, arXiv:2304.12319.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.codec.config import ANALYSIS_SLOPE, PATCH, CodecConfig
from decant_train.codec.entropy_model import linear_path
from decant_train.codec.layers import NormalizedResidual, Residual, normalized, zero


class Analysis(nn.Module):
    """Pictures (n, 3, H, W) in [-0.5, 0.5] -> latents (n, M, H/16, W/16); H and W multiples of 64."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        width, blocks = config.analysis_width, config.analysis_blocks
        self.linear = nn.Conv2d(3, config.latents, PATCH, stride=PATCH)
        self.stem = nn.Conv2d(48, width // 2, 3, padding=1)
        self.eighth_in = nn.Conv2d(2 * width, width, 1)
        self.eighth = nn.Sequential(*(NormalizedResidual(width, 3) for _ in range(blocks)))
        self.sixteenth_in = nn.Conv2d(4 * width, 2 * width, 1)
        self.sixteenth = nn.Sequential(*(NormalizedResidual(2 * width, 1) for _ in range(blocks)))
        self.out = nn.Conv2d(2 * width, config.latents, 3, padding=1)
        zero(self.out)

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.leaky_relu(self.stem(F.pixel_unshuffle(pictures, 4)), ANALYSIS_SLOPE)
        x = self.eighth(self.eighth_in(F.pixel_unshuffle(x, 2)))
        x = self.sixteenth(self.sixteenth_in(F.pixel_unshuffle(x, 2)))
        added: Tensor = self.out(normalized(x))
        return linear_path(self.linear, pictures) + added.float()


class Synthesis(nn.Module):
    """Latents (n, M, h, w) -> pictures (n, 3, 16 h, 16 w) in [-0.5, 0.5], not clipped."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        m, r = config.latents, config.render_width
        self.up = nn.Conv2d(m, 16 * r, 1)
        self.render = nn.ModuleList(Residual(r, config.render_hidden, 1) for _ in range(config.render_layers))
        self.last = nn.Conv2d(r, 48, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = F.pixel_shuffle(linear_path(self.up, latents), 4)
        for layer in self.render:
            x = layer(x)
        pictures: Tensor = F.pixel_shuffle(linear_path(self.last, x), 4)
        return pictures
