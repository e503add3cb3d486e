"""The metrics against second implementations, on real photographs and what JPEG makes of them."""

import io
import math

import numpy as np
import pytest
import torch
from decant_bench.common.metrics import MS_SSIM_SMALLEST, error_picture, ms_ssim, psnr, ssim
from decant_train.data.wheel_photos import crops
from PIL import Image
from pytorch_msssim import ms_ssim as torch_ms_ssim
from pytorch_msssim import ssim as torch_ssim
from skimage.metrics import peak_signal_noise_ratio


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """(original, decoded) at strong, medium and light compression."""
    return [
        (picture, _jpeg(picture, quality))
        for picture, quality in zip(crops(3, 256), (5, 40, 95), strict=True)
    ]


def test_psnr_is_that_of_scikit_image(pairs):
    for original, decoded in pairs:
        assert psnr(original, decoded) == pytest.approx(peak_signal_noise_ratio(original, decoded), abs=1e-9)


def test_psnr_of_equal_pictures_is_infinite(pairs):
    assert psnr(pairs[0][0], pairs[0][0]) == math.inf


def test_psnr_of_black_and_white_is_zero():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black + 255) == 0


def test_ssim_is_that_of_pytorch_msssim(pairs):
    for original, decoded in pairs:
        assert ssim(original, decoded) == pytest.approx(_second(torch_ssim, original, decoded), abs=1e-5)


@pytest.mark.parametrize("shape", [(256, 256), (161, 161), (175, 233)])
def test_ms_ssim_is_that_of_pytorch_msssim(pairs, shape):
    height, width = shape
    for original, decoded in pairs:
        x, y = original[:height, :width], decoded[:height, :width]
        assert ms_ssim(x, y) == pytest.approx(_second(torch_ms_ssim, x, y), abs=1e-3)


def test_ms_ssim_falls_with_quality(pairs):
    original = pairs[0][0]
    values = [ms_ssim(original, _jpeg(original, quality)) for quality in (5, 20, 60, 95)]
    assert values == sorted(values)
    assert ms_ssim(original, original) == pytest.approx(1)


def test_ms_ssim_says_which_size_it_needs(pairs):
    small = pairs[0][0][: MS_SSIM_SMALLEST - 1]
    with pytest.raises(ValueError, match="256x160 pixels; this metric needs at least 161 a side"):
        ms_ssim(small, small)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim])
def test_pictures_that_cannot_be_compared_are_refused(metric, pairs):
    original = pairs[0][0]
    with pytest.raises(ValueError, match="cannot be compared"):
        metric(original, original[:-1])
    with pytest.raises(ValueError, match="uint8 expected"):
        metric(original, original.astype(np.float32))
    with pytest.raises(ValueError, match=r"\(height, width, 3\) expected"):
        metric(original[..., 0], original[..., 0])


def test_error_picture_is_the_amplified_difference():
    original = np.full((2, 2, 3), 100, np.uint8)
    decoded = original.copy()
    decoded[0, 0], decoded[1, 1] = 90, 200
    error = error_picture(original, decoded, gain=4)
    assert error[0, 0].tolist() == [40, 40, 40]
    assert error[1, 1].tolist() == [255, 255, 255]
    assert error[0, 1].tolist() == [0, 0, 0]


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def _second(metric, original: np.ndarray, decoded: np.ndarray) -> float:
    x, y = (
        torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].double() for picture in (original, decoded)
    )
    return float(metric(x, y, data_range=255))
