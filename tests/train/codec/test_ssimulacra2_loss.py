"""SSIMULACRA2 with a gradient: the metric's own scores, and a slope that raises them."""

import io

import numpy as np
import pytest
import torch
from decant.ssimulacra2 import ssimulacra2
from decant_train.codec.distortion import LOST_POINT, Measure, distortion, picture_error
from decant_train.codec.ssimulacra2_loss import lost_points
from PIL import Image
from skimage import data
from torch import Tensor


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def tensor(*pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [data.astronaut()[100:293, 60:221], data.coffee()[100:293, 200:361]]  # odd sides


def test_it_loses_the_points_of_the_metric(pictures: list[np.ndarray]) -> None:
    decoded = [[jpeg(picture, quality) for picture in pictures] for quality in (8, 40, 95)]
    lost = lost_points([tensor(*several) for several in decoded], tensor(*pictures))
    for i, several in enumerate(decoded):
        scores = [ssimulacra2(*pair) for pair in zip(pictures, several, strict=True)]
        np.testing.assert_allclose(100 - lost[i].numpy(), scores, atol=0.02)


def test_a_step_along_its_gradient_raises_the_score(pictures: list[np.ndarray]) -> None:
    original, decoded = tensor(*pictures), tensor(*(jpeg(picture, 30) for picture in pictures))
    decoded.requires_grad_()
    before = lost_points([decoded], original)[0]
    (slope,) = torch.autograd.grad(before.sum(), decoded)
    after = lost_points([decoded.detach() - 0.002 * slope / slope.square().mean().sqrt()], original)[0]
    assert (after < before - 0.1).all()


def test_equal_pictures_and_values_beyond_white_have_finite_slopes(pictures: list[np.ndarray]) -> None:
    original = tensor(*pictures)
    for decoded in (original.clone(), original * 3 - 1):
        decoded.requires_grad_()
        (slope,) = torch.autograd.grad(lost_points([decoded], original).sum(), decoded)
        assert slope.isfinite().all()


def test_a_share_of_the_distortion_is_ssimulacra2(pictures: list[np.ndarray]) -> None:
    original, decoded = tensor(*pictures), tensor(*(jpeg(picture, 30) for picture in pictures))
    mixed = distortion(decoded - 0.5, original, Measure(ssimulacra2=0.6))
    expected = 0.6 * LOST_POINT * lost_points([decoded], original)[0]
    torch.testing.assert_close(mixed, expected + 0.4 * picture_error(decoded - 0.5, original))


def test_a_picture_of_seven_pixels_is_refused() -> None:
    small = torch.zeros(1, 3, 7, 64)
    with pytest.raises(ValueError, match="8 pixels a side"):
        lost_points([small], small)
