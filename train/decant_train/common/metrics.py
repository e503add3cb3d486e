"""PSNR and SSIM of image batches, in torch."""

import math

import torch
from pytorch_msssim import ssim as batch_ssim
from torch import Tensor


def psnr_of_mse(mse: float) -> float:
    """PSNR in dB of images in [0, 1] with mean squared error ``mse``."""
    return math.inf if mse <= 0 else -10 * math.log10(mse)


@torch.no_grad()
def psnr_ssim(images: Tensor, decoded: Tensor) -> tuple[float, float]:
    """Means over a batch of PSNR (dB) and SSIM (Gaussian window 11, sigma 1.5; Wang et al. 2004), after
    rounding to 8 bits.

    ``images``, ``decoded``: float32 (n, 3, H, W) in [0, 1].
    """
    rounded = (decoded.clamp(0, 1) * 255).round() / 255
    mse = (images - rounded).square().mean(dim=(1, 2, 3))
    psnr = sum(psnr_of_mse(float(m)) for m in mse) / len(mse)
    return psnr, float(batch_ssim(images, rounded, data_range=1.0))
