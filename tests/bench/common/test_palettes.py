"""K-means and median cut: as few colours as asked for, well chosen, in files that give the same picture."""

import numpy as np
import pytest
from decant.errors import FormatError
from decant_bench.common import metrics, palettes
from decant_bench.common.baselines import setting
from decant_train.data.wheel_photos import crops
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return crops(2, 64)[1]


def colours_of(picture: np.ndarray) -> int:
    return len(np.unique(picture.reshape(-1, 3), axis=0))


def decoded(label: str, picture: np.ndarray) -> np.ndarray:
    return setting(label).decoder()(setting(label).encode(picture))


@pytest.mark.parametrize("name", ["kmeans", "median-cut"])
@pytest.mark.parametrize("colours", [2, 4, 16, 256])
def test_a_picture_comes_back_in_that_many_colours(name, colours, photo):
    found = decoded(f"{name}-k{colours}", photo)
    assert (found.dtype, found.shape) == (np.uint8, photo.shape)
    assert colours // 2 < colours_of(found) <= colours
    assert setting(f"{name}-k{colours}").label == f"{name}-k{colours}"


def test_the_file_holds_what_the_quantizer_chose(photo):
    palette, indices = palettes.kmeans(photo, 16)
    assert np.array_equal(decoded("kmeans-k16", photo), palette[indices])


def test_every_pixel_has_the_nearest_colour(photo):
    palette, indices = palettes.kmeans(photo, 8)
    distances = np.square(photo[:, :, None].astype(int) - palette).sum(axis=3)
    assert np.array_equal(
        np.take_along_axis(distances, indices[..., None].astype(int), 2)[..., 0], distances.min(2)
    )


@pytest.mark.parametrize("colours", [4, 16, 64])
def test_kmeans_is_closer_than_median_cut(colours, photo):
    psnr = [metrics.psnr(photo, decoded(f"{name}-k{colours}", photo)) for name in ("median-cut", "kmeans")]
    assert psnr[1] > psnr[0] + 0.5


def test_a_second_kmeans_finds_nothing_better(photo):
    from scipy.cluster.vq import kmeans2

    pixels = photo.reshape(-1, 3).astype(float)
    centres, labels = kmeans2(pixels, 8, minit="++", seed=1)
    other = np.square(pixels - centres[labels]).sum()
    assert palettes.inertia(photo, 8) < 1.1 * other


def test_few_colours_are_kept_as_they_are():
    digit = (load_digits().images[0] * 15).astype(np.uint8).repeat(3, 0).repeat(3, 1)
    picture = np.repeat(digit[..., None], 3, axis=2)
    for name in ("kmeans", "median-cut"):
        assert np.array_equal(decoded(f"{name}-k32", picture), picture)
    assert palettes.inertia(picture, 32) == 0


@pytest.mark.parametrize("form", [palettes.PACKED, palettes.DEFLATED, palettes.ANS])
def test_each_form_is_used_where_it_is_shortest_and_reads_back(form):
    random = np.random.default_rng(3)
    indices = {
        palettes.PACKED: random.integers(0, 16, (16, 16)),
        palettes.DEFLATED: np.arange(64)[:, None] // 8 + np.zeros((64, 64), int),
        palettes.ANS: random.choice(16, (64, 64), p=np.array([50] + [1] * 15) / 65),
    }[form].astype(np.uint8)
    palette = random.integers(0, 256, (16, 3), np.uint8)
    data = palettes.write(palette, indices)
    assert data[0] == form
    found = palettes.read(data)
    assert np.array_equal(found[0], palette)
    assert np.array_equal(found[1], indices)


def test_an_entropy_coded_file_is_near_the_entropy():
    shares = np.array([0.9, 0.05, 0.03, 0.02])
    indices = np.random.default_rng(0).choice(4, (128, 128), p=shares).astype(np.uint8)
    bits = -(shares * np.log2(shares)).sum() * indices.size
    data = palettes.write(np.arange(12, dtype=np.uint8).reshape(4, 3), indices)
    assert len(data) * 8 < 1.03 * bits + 8 * (6 + 12 + 4 + 4)


def test_a_grey_palette_takes_a_byte_a_colour():
    indices = np.zeros((4, 4), np.uint8)
    indices[0] = 1
    grey = palettes.write(np.repeat(np.array([[0], [200]], np.uint8), 3, axis=1), indices)
    colour = palettes.write(np.array([[0, 0, 0], [200, 200, 201]], np.uint8), indices)
    assert len(colour) - len(grey) == 4
    assert np.array_equal(palettes.read(grey)[0], [[0, 0, 0], [200, 200, 200]])


def test_the_bytes_of_a_file():
    palette = np.array([[0, 0, 0], [255, 0, 0], [255, 255, 255]], np.uint8)
    data = palettes.write(palette, np.array([[0, 1], [2, 1]], np.uint8))
    assert data.hex() == "000200020002000000ff0000ffffff64"


def test_damaged_files_are_refused(photo):
    for label in ("kmeans-k2", "kmeans-k16", "median-cut-k200"):
        data = setting(label).encode(photo)
        for length in range(len(data)):
            with pytest.raises(FormatError, match="palette file"):
                palettes.read(data[:length])
        with pytest.raises(FormatError, match="palette file"):
            palettes.read(data + b"\x01")
    with pytest.raises(FormatError, match="form 3"):
        palettes.read(b"\x03" + data[1:])
    packed = palettes.write(np.zeros((3, 3), np.uint8), np.array([[0, 1], [2, 1]], np.uint8))
    with pytest.raises(FormatError, match="index 3"):
        palettes.read(packed[:-1] + b"\xff")
