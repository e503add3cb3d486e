"""SSIMULACRA2 against scores of the C++ program.

The scores were published in the tests of the Rust port (github.com/imazen/ssimulacra2, reference_data.rs),
taken with libjxl's ``ssimulacra2`` from pictures that a formula makes.
"""

import io

import numpy as np
import pytest
from decant.ssimulacra2 import SMALLEST, WEIGHTS, ssimulacra2
from PIL import Image
from skimage import data

# Grey of 128 against a lighter one: side, how much lighter, score.
SHIFTED = (
    (32, 50, 85.01409588),
    (64, 5, 91.52357693),
    (64, 10, 80.24289393),
    (64, 20, 56.05855584),
    (64, 50, -8.75942256),
    (128, 10, 77.84296299),
    (128, 20, 54.27883917),
    (128, 50, -9.82383315),
    (256, 20, 59.77892918),
    (256, 50, -0.39085784),
)


def grey(side, value):
    return np.full((side, side, 3), value, np.uint8)


def gradient():
    row = (np.arange(64) * 255 // 63).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (64, 64, 3)).copy()


def noise():
    """The Rust port's generator: a linear congruential one of 64 bits, bits 33 to 40 of its state."""
    state, values = 42, []
    for _ in range(64 * 64 * 3):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(state >> 33 & 255)
    return np.array(values, np.uint8).reshape(64, 64, 3)


@pytest.mark.parametrize(("side", "shift", "score"), SHIFTED)
def test_a_lighter_grey_has_the_score_of_the_original(side, shift, score):
    assert ssimulacra2(grey(side, 128), grey(side, 128 + shift)) == pytest.approx(score, abs=0.5)


@pytest.mark.parametrize(("make", "score"), [(gradient, -64.56872148), (noise, -47.33572558)])
def test_detail_that_is_lost_has_the_score_of_the_original(make, score):
    assert ssimulacra2(make(), grey(64, 128)) == pytest.approx(score, abs=0.01)


def test_the_scale_is_that_of_the_metric():
    photo = data.astronaut()
    scores = []
    for quality in (10, 50, 95):
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "JPEG", quality=quality)
        scores.append(ssimulacra2(photo, np.asarray(Image.open(file))))
    # The authors: 10 is "very low", about cjpeg -quality 14; 70 "high", about 65; 90 visually lossless.
    assert -20 < scores[0] < 35 < scores[1] < 80 < scores[2] < 95
    assert ssimulacra2(photo, photo) == 100


def test_odd_sides_and_sides_that_differ():
    photo = data.astronaut()[:75, :131]
    darker = np.maximum(photo, 4) - 4
    assert 50 < ssimulacra2(photo, darker) < 100
    assert ssimulacra2(photo.transpose(1, 0, 2), darker.transpose(1, 0, 2)) == pytest.approx(
        ssimulacra2(photo, darker), abs=0.01
    )


def test_the_weights_are_all_there():
    assert WEIGHTS.shape == (3, 6, 2, 3)  # channels, scales, norms, maps
    assert WEIGHTS.sum() == pytest.approx(888.3148365876135)
    assert np.count_nonzero(WEIGHTS) == 52


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="shapes"):
        ssimulacra2(grey(16, 0), grey(17, 0))
    with pytest.raises(ValueError, match="uint8"):
        ssimulacra2(grey(16, 0), grey(16, 0).astype(np.float32))
    with pytest.raises(ValueError, match=f"needs {SMALLEST}"):
        ssimulacra2(grey(7, 0), grey(7, 0))
