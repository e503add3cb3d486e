"""Family ``digits_denoiser``: a second autoencoder over the pictures that ``digits`` decodes.

Convolutions with max-pooling and convolutions with upsampling back, as published; two paths are added to it:
the features before the second pooling are added after the first upsampling, and the result is a correction
that is added to the picture. It starts as the identity: the last convolution is zero.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.common.family import Family
from decant_train.published.digits.model import doubled, initialise, nhwc

# Of the correction. Adam moves each of the 288 weights of a pixel by the learning rate at once: without the
# gain, by more than there is to mend.
GAIN = 0.1


@dataclass(frozen=True)
class DigitsDenoiserConfig:
    """``first`` and ``second``: channels before the first and the second pooling."""

    first: int = 8
    second: int = 32

    def __post_init__(self) -> None:
        if min(self.first, self.second) < 1:
            raise ValueError("first and second must be at least 1")


SIZES = {"default": DigitsDenoiserConfig()}


class DigitDenoiser(nn.Module):
    """Pictures (n, 1, 28, 28) in [0, 1] -> the same pictures, mended."""

    def __init__(self, config: DigitsDenoiserConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.first, config.second
        self.conv1 = nn.Conv2d(1, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.conv3 = nn.Conv2d(second, second, 3, padding=1)
        self.up1 = nn.Conv2d(second, second, 3, padding=1)
        self.conv4 = nn.Conv2d(second, second, 3, padding=1)
        self.up2 = nn.Conv2d(second, 1, 3, padding=1)
        initialise(self)
        nn.init.zeros_(self.up2.weight)

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(nhwc(pictures)), 2))
        fine = F.relu(self.conv2(x))
        x = F.relu(self.conv3(F.max_pool2d(fine, 2)))
        x = F.relu(doubled(self.up1, x)) + fine
        x = F.relu(self.conv4(x))
        return (pictures + GAIN * doubled(self.up2, x).float()).clamp(0, 1)

    def loss(self, decoded: Tensor, originals: Tensor) -> Tensor:
        """Mean squared error of mended ``decoded`` against ``originals``, both (n, 1, 28, 28); scalar
        float32.
        """
        return F.mse_loss(self(decoded), originals)


FAMILY = Family(name="digits_denoiser", config=DigitsDenoiserConfig, sizes=SIZES, build=DigitDenoiser)
