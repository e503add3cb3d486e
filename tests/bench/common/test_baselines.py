"""The codecs that bundles are measured against: what goes in comes out, in size and shape."""

import io

import numpy as np
import pytest
from decant_bench.common import metrics
from decant_bench.common.baselines import CODECS, Setting, setting
from decant_train.data.wheel_photos import crops
from PIL import Image, ImageFile


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return crops(2, 192)[1]


@pytest.mark.parametrize("name", [name for name, codec in CODECS.items() if codec.qualities])
def test_lossy_codecs_come_close(name, photo):
    try:
        CODECS[name].prepare()
    except ImportError as error:
        if name not in ("turbojpeg", "torchcodec"):  # of no extra of ours
            raise
        pytest.skip(f"{name} is not installed: {error}")
    data = Setting(name, 90).encode(photo)
    decoded = Setting(name, 90).decoder()(data)
    assert (decoded.dtype, decoded.shape) == (np.uint8, photo.shape)
    assert 30 < metrics.psnr(photo, decoded) < 60
    assert len(data) < photo.size / 4


def test_png_gives_the_same_pixels(photo):
    assert np.array_equal(setting("png").decoder()(setting("png").encode(photo)), photo)


@pytest.mark.parametrize("codec", [name for name, codec in CODECS.items() if codec.qualities])
def test_more_quality_is_more_bytes(codec, photo):
    sizes = [len(Setting(codec, quality).encode(photo)) for quality in (20, 50, 80)]
    assert sizes == sorted(sizes)


def test_jpeg_is_pillows_default(photo):
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=75)
    assert setting("jpeg-q75").encode(photo) == stream.getvalue()


def test_avif_files_do_not_depend_on_the_threads_that_decoded_before(photo):
    files = []
    for threads in (1, 2):
        setting("avif-q60").decoder(threads)(setting("avif-q60").encode(photo))
        files.append(setting("avif-q60").encode(photo))
    assert files[0] == files[1]


def test_whole_chroma_keeps_red_where_halved_chroma_blurs_it():
    stripes = np.zeros((192, 192, 3), np.uint8)
    stripes[:, ::2, 0] = 255
    for codec in ("jpeg", "avif"):
        halved, whole = setting(f"{codec}-q90"), setting(f"{codec}-444-q90")
        psnr = [metrics.psnr(stripes, one.decoder()(one.encode(stripes))) for one in (halved, whole)]
        assert psnr[1] > psnr[0] + 10


def test_noise_at_high_quality_is_optimised_too():
    # Pillow alone stops with "broken data stream": its buffer is too small for this.
    noise = np.where(np.random.default_rng(0).integers(0, 2, (256, 256, 3)) > 0, 255, 0).astype(np.uint8)
    usual = ImageFile.MAXBLOCK
    decoded = setting("jpeg-opt-q93").decoder()(setting("jpeg-opt-q93").encode(noise))
    assert decoded.shape == noise.shape
    assert usual == ImageFile.MAXBLOCK


@pytest.mark.parametrize(
    "label",
    [
        "gif",
        "jpeg-q0",
        "jpeg-q101",
        "png-q50",
        "",
        "JPEG",
        "jpeg-q",
        "jpeg-k16",
        "kmeans-q16",
        "kmeans-k1",
        "kmeans-k257",
    ],
)
def test_settings_that_are_none_are_refused(label):
    with pytest.raises(ValueError, match=r"no codec|quality"):
        setting(label)
