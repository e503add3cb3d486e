"""The feature distance: against an implementation of its own in numpy, and on JPEG of falling quality."""

import io
from pathlib import Path

import numpy as np
import pytest
from decant_bench.common.features import LEARNT, PLAIN, SMALLEST, FeatureDistance
from decant_bench.common.pictures import wheel_crops
from decant_bench.errors import BenchError
from PIL import Image

IMAGENET = Path(__file__).parents[4] / "shared/data/perceptual/squeezenet1_1_imagenet_fp16.npz"
# (squeeze, expand) channels of SqueezeNet 1.1's fires.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
COMPARED = (64, 128, 256, 384, 384, 512, 512)  # channels of the seven features


def random_weights() -> dict[str, np.ndarray]:
    """SqueezeNet 1.1 with weights drawn at random."""
    random = np.random.default_rng(3)
    shapes, inputs = [(64, 3, 3, 3)], 64
    for squeeze, expand in FIRES:
        shapes += [(squeeze, inputs, 1, 1), (expand, squeeze, 1, 1), (expand, squeeze, 3, 3)]
        inputs = 2 * expand
    found = {}
    for number, shape in enumerate(shapes):
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        found[f"conv{number}.weight"] = random.normal(0, deviation, shape).astype(np.float32)
        found[f"conv{number}.bias"] = random.normal(0, 0.01, shape[0]).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return random_weights()


@pytest.fixture(scope="module")
def distance(weights, tmp_path_factory) -> FeatureDistance:
    path = tmp_path_factory.mktemp("weights") / "squeezenet.npz"
    np.savez(path, **weights)
    return FeatureDistance(path)


def windows(x: np.ndarray, side: int, stride: int) -> np.ndarray:
    """(c, h, w) -> (c, h', w', side, side)."""
    return np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))[:, ::stride, ::stride]


def in_numpy(weights: dict[str, np.ndarray], picture: np.ndarray) -> list[np.ndarray]:
    """The seven features of uint8 (H, W, 3), each of unit length over its channels."""

    def convolve(x, number, stride=1, padding=0):
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        kernel = weights[f"conv{number}.weight"].astype(np.float64)
        y = np.einsum("chwij,ocij->ohw", windows(x, kernel.shape[2], stride), kernel)
        return np.maximum(y + weights[f"conv{number}.bias"][:, None, None], 0)

    def pool(x):
        grown = [(0, -(side - 3) % 2) for side in x.shape[1:]]  # a last window may begin inside
        return windows(np.pad(x, ((0, 0), *grown), constant_values=-np.inf), 3, 2).max((3, 4))

    x = picture.transpose(2, 0, 1) / 255
    x = (x - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
    x = convolve(x, 0, stride=2)
    found = [x]
    for index in range(8):
        if index in (0, 2, 4):
            x = pool(x)
        squeezed = convolve(x, 1 + 3 * index)
        x = np.concatenate([convolve(squeezed, 2 + 3 * index), convolve(squeezed, 3 + 3 * index, padding=1)])
        if index in (1, 3, 4, 5, 6, 7):
            found.append(x)
    return [features / np.linalg.norm(features, axis=0) for features in found]


@pytest.mark.parametrize("size", [(40, 33), (17, 17)])
def test_it_is_what_numpy_makes_of_its_definition(distance, weights, size):
    first, second = (crop[: size[0], : size[1]] for crop in wheel_crops(2, 48).pixels)
    pairs = list(zip(in_numpy(weights, first), in_numpy(weights, second), strict=True))
    assert tuple(len(a) for a, _ in pairs) == COMPARED
    expected = sum(np.square(a - b).sum(0).mean() for a, b in pairs)
    assert distance(first, second) == pytest.approx(expected, rel=1e-4)


def test_equal_pictures_are_at_zero_and_worse_jpeg_is_further(distance):
    _rises_with_strength(distance)


def test_it_rises_with_imagenet_weights_too():
    if not IMAGENET.is_file():
        pytest.skip(f"{IMAGENET} is not here")
    _rises_with_strength(FeatureDistance(IMAGENET))


def _rises_with_strength(distance: FeatureDistance) -> None:
    picture = wheel_crops(1, 128).pixels[0]
    found = [distance(picture, picture)]
    for quality in (95, 60, 20, 5):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality)
        found.append(distance(picture, np.asarray(Image.open(stream))))
    assert found[0] == 0
    assert found == sorted(found)
    assert found[1] > 0


def test_a_picture_too_small_has_none(distance):
    picture = wheel_crops(1, SMALLEST).pixels[0]
    assert distance(picture, picture) == 0
    assert distance(picture[:-1], picture[:-1]) is None


def test_linear_weights_weigh_the_channels_and_name_it(distance, weights, tmp_path):
    first, second = wheel_crops(2, 32).pixels
    assert distance.name == PLAIN
    linear = {
        f"lin{index}.model.1.weight": np.full((1, count, 1, 1), 0.5, np.float32)
        for index, count in enumerate(COMPARED)
    }
    np.savez(tmp_path / "lpips.npz", **weights, **linear)
    weighed = FeatureDistance(tmp_path / "lpips.npz")
    assert weighed.name == LEARNT
    assert weighed(first, second) == pytest.approx(0.5 * distance(first, second), rel=1e-5)
    del linear["lin3.model.1.weight"]
    np.savez(tmp_path / "part.npz", **weights, **linear)
    with pytest.raises(BenchError, match="6 of 7 linear weights"):
        FeatureDistance(tmp_path / "part.npz")


def test_other_files_are_refused(weights, tmp_path):
    np.savez(tmp_path / "part.npz", **{key: weights[key] for key in list(weights)[:6]})
    with pytest.raises(BenchError, match=r"conv3.weight is not there"):
        FeatureDistance(tmp_path / "part.npz")
    np.savez(tmp_path / "pickled.npz", **{"conv0.weight": np.array([{}], object)})
    with pytest.raises(BenchError, match="pickled"):
        FeatureDistance(tmp_path / "pickled.npz")
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(BenchError, match=r"no .npz file"):
        FeatureDistance(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError):
        FeatureDistance(tmp_path / "missing.npz")
