"""What a codec is trained to keep small: colours, MS-SSIM, precision, and the score of what is seen."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from decant_train.codec import ssimulacra2_score
from decant_train.codec.config import CodecConfig
from decant_train.codec.distortion import (
    CB_WEIGHT,
    DISSIMILARITY,
    LEAST_SIDE,
    Measure,
    distortion,
    distortions,
    ms_ssim,
    picture_error,
)
from pytorch_msssim import ms_ssim as published
from torch import Tensor


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    torch.manual_seed(0)
    return F.interpolate(torch.rand(2, 3, 24, 24), size=(192, 208), mode="bilinear")


@pytest.fixture(scope="module")
def made(pictures: Tensor) -> Tensor:
    torch.manual_seed(1)
    return pictures - 0.5 + 0.05 * torch.randn_like(pictures)


def test_ms_ssim_is_the_published_one(pictures: Tensor, made: Tensor) -> None:
    torch.manual_seed(2)
    other = pictures + 0.1 * torch.randn_like(pictures)
    for size in ((192, 208), (175, 177)):  # odd sides at some scale
        original, both = (x[:, :, : size[0], : size[1]] for x in (pictures, made + 0.5))
        expected = published(both, original, data_range=1.0, size_average=False)
        torch.testing.assert_close(ms_ssim([both], original)[0], expected, atol=1e-5, rtol=0)
    several = ms_ssim([made + 0.5, other], pictures)
    torch.testing.assert_close(several[1], ms_ssim([other], pictures)[0])
    with pytest.raises(ValueError, match=f"needs {LEAST_SIDE} pixels"):
        ms_ssim([made[:, :, :160]], pictures[:, :, :160])


def test_autocast_does_not_touch_the_variances(pictures: Tensor) -> None:
    """In bfloat16 the variances of a smooth picture are noise, and MS-SSIM of a good copy is anything."""
    copy = pictures - 0.5 + 0.01 * torch.sin(torch.arange(208.0))
    expected = distortion(copy, pictures, Measure(1.0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distortion(copy, pictures, Measure(1.0)), expected)


def test_a_share_of_the_distortion_is_ms_ssim(pictures: Tensor, made: Tensor) -> None:
    error = picture_error(made, pictures)
    expected = DISSIMILARITY * (1 - published(made + 0.5, pictures, data_range=1.0, size_average=False))
    torch.testing.assert_close(distortion(made, pictures, Measure()), error)
    torch.testing.assert_close(distortion(made, pictures, Measure(1.0)), expected, atol=1e-7, rtol=0.01)
    mixed = distortions((made, made), pictures, Measure(0.3))
    torch.testing.assert_close(mixed[1], 0.7 * error + 0.3 * expected, atol=1e-7, rtol=0.01)


def test_grey_errors_count_alike_in_both_colours_and_blue_ones_less(pictures: Tensor) -> None:
    error = 0.02 * torch.sin(torch.arange(208.0))
    grey = pictures - 0.5 + error
    rgb, ycbcr = (distortion(grey, pictures, Measure(0.0, colour)) for colour in ("rgb", "ycbcr"))
    torch.testing.assert_close(rgb, ycbcr)
    blue = torch.tensor((0.0, -0.344136, 1.772))[:, None, None]  # Cb alone
    tinted = pictures - 0.5 + error * blue
    found, before = (distortion(tinted, pictures, Measure(0.0, colour)) for colour in ("ycbcr", "rgb"))
    torch.testing.assert_close(found, CB_WEIGHT * ycbcr, rtol=1e-3, atol=1e-9)
    assert float(found.mean()) < 0.4 * float(before.mean())


def test_ms_ssim_of_flat_pictures_keeps_a_finite_gradient() -> None:
    flat = torch.full((1, 3, 192, 192), 0.5)
    opposite = (0.2 * torch.sign(torch.randn(1, 3, 192, 192))).requires_grad_()
    distortion(opposite, flat - 0.2 * torch.sign(opposite.detach()), Measure(0.8, "ycbcr")).sum().backward()
    assert opposite.grad is not None
    assert bool(opposite.grad.isfinite().all())


@pytest.mark.parametrize(
    "change", [{"ms_ssim": 1.5}, {"ms_ssim": 0.6, "ssimulacra2": 0.6}, {"colour": "hsv"}]
)
def test_a_measure_that_does_not_exist_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"shares of the distortion|one of rgb, ycbcr"):
        replace(CodecConfig(), **change)


def test_the_score_of_what_is_seen_falls_with_noise(pictures: Tensor) -> None:
    torch.manual_seed(3)
    noise = torch.randn_like(pictures[0])
    assert ssimulacra2_score.score(pictures[0], pictures[0]) == pytest.approx(100)
    scores = [
        ssimulacra2_score.score(pictures[0], pictures[0] + deviation * noise)
        for deviation in (0.01, 0.03, 0.1)
    ]
    assert 100 > scores[0] > scores[1] > scores[2]
    assert ssimulacra2_score.mean_score(pictures, pictures) == pytest.approx(100)
