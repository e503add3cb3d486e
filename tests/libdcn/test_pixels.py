"""libdcn decodes what the Python decoder of the integer synthesis decodes, pixel for pixel."""

import os
import threading

import numpy as np
import pytest
from ctypes_dcn import BUNDLES, STOPPED, TOO_LARGE, WRONG_MODEL, Failed, Model, python_decoder
from decant import Encoder
from decant.formats import container
from decant.formats.rectangles import Rectangle
from shipped_codecs import CODECS

# One more or fewer than whole latents, hyperlatents and coding tiles; the rest is sampled.
SIZES = [(1, 1), (15, 17), (16, 64), (33, 47), (64, 65), (80, 79), (1, 80), (80, 1), (40, 1040)]


def model_of(name: str) -> Model:
    return Model((BUNDLES / name / f"{name}.dcnm").read_bytes())


@pytest.fixture(scope="module")
def nano() -> Model:
    return model_of("nano")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder("nano")


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Slopes with noise and hard edges."""
    random = np.random.default_rng(height * 7919 + width)
    slope = np.linspace(0, 255, height)[:, None, None] + np.linspace(-90, 90, width)[None, :, None]
    pixels = slope * np.ones(channels) + random.normal(0, 20, (height, width, channels))
    pixels[height // 3 : height // 2, width // 4 :] = [255, 0, 90, 128][:channels]
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CODECS)
def test_golden_files_have_the_same_pixels(name: str):
    model, decoder = model_of(name), python_decoder(name)
    for path in sorted((BUNDLES / name / "golden").glob("*.dcn")):
        data = path.read_bytes()
        assert np.array_equal(model.decode(data), decoder.decode(container.parse(data)))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sizes_have_the_same_pixels(nano: Model, encoder: Encoder, height: int, width: int):
    data = encoder.encode(picture(height, width, 4), quality=35 + height % 50, effort=0)
    expected = python_decoder("nano").decode(container.parse(data))
    assert np.array_equal(nano.decode(data, channels=4), expected)
    assert np.array_equal(nano.decode(data, threads=3), expected[:, :, :3])


def test_grey_is_the_mean_of_the_channels(nano: Model, encoder: Encoder):
    data = encoder.encode(picture(50, 70)[:, :, 0], quality=50, effort=0)
    expected = python_decoder("nano").decode(container.parse(data))
    found = nano.decode(data)
    assert np.array_equal(found, expected)
    assert (found[:, :, :1] == found).all()


def test_regions_strides_and_extremes(nano: Model, encoder: Encoder):
    pixels = np.where(np.indices((90, 1100)).sum(axis=0)[:, :, None] % 2, [255, 0, 255], [0, 255, 0])
    data = encoder.encode(pixels.astype(np.uint8), quality=90, effort=0)
    whole = python_decoder("nano").decode(container.parse(data))
    for x, y, width, height in ((0, 0, 1, 1), (1000, 30, 100, 60), (17, 15, 33, 2), (1099, 89, 1, 1)):
        found = nano.decode(data, x=x, y=y, width=width, height=height, stride=3 * width + 5)
        assert np.array_equal(found, whole[y : y + height, x : x + width])
    assert np.array_equal(
        python_decoder("nano").decode(container.parse(data), region=Rectangle(30, 90, 1000, 1100)),
        nano.decode(data, x=1000, y=30, width=100, height=60),
    )


def test_progress_shows_a_preview_and_then_final_rows(nano: Model, encoder: Encoder):
    data = encoder.encode(picture(1100, 64), quality=40, effort=0)
    calls: list[tuple[int, int]] = []

    def note(rows: int, preview: int) -> int:
        calls.append((rows, preview))
        return 0

    assert np.array_equal(nano.decode(data, progress=note, preview_groups=1), nano.decode(data))
    assert calls[0] == (0, 1)
    assert [rows for rows, _ in calls[1:]] == sorted({rows for rows, _ in calls[1:]})
    assert calls[-1] == (1100, 0)
    with pytest.raises(Failed, match="stopped") as stopped:
        nano.decode(data, progress=lambda rows, preview: 1)
    assert stopped.value.status == STOPPED


def test_limits_and_foreign_models(nano: Model, encoder: Encoder):
    data = encoder.encode(picture(64, 64), quality=40, effort=0)
    for options in ({"most_pixels": 64 * 64 - 1}, {"most_memory": nano.memory(data) - 1}):
        with pytest.raises(Failed) as failed:
            nano.decode(data, **options)
        assert failed.value.status == TOO_LARGE
    assert nano.decode(data, most_pixels=64 * 64, most_memory=nano.memory(data)).shape == (64, 64, 3)
    with pytest.raises(Failed, match="another id") as failed:
        model_of("full").decode(data)
    assert failed.value.status == WRONG_MODEL


def test_eight_threads_share_a_model(nano: Model, encoder: Encoder):
    files = [encoder.encode(picture(60 + i, 90 - i), quality=30 + i, effort=0) for i in range(4)]
    expected = [nano.decode(data) for data in files]
    wrong: list[int] = []

    def work(first: int) -> None:
        for i in range(first, first + 8):
            if not np.array_equal(nano.decode(files[i % 4], threads=1 + i % 2), expected[i % 4]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_decodes(nano: Model, encoder: Encoder):
    data = encoder.encode(picture(70, 70), quality=40, effort=0)
    expected = nano.decode(data, threads=2)
    child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(nano.decode(data, threads=2), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
