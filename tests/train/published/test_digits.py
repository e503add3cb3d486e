"""Digits: their files are read with care, the autoencoder and its denoiser learn, stop and go on."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from decant_train.cli import train
from decant_train.common import checkpoint as checkpoints
from decant_train.common import loop
from decant_train.common.checkpoint import CheckpointError
from decant_train.data import mnist, wheel_digits
from decant_train.published.digits import recipe as recipes_digits
from decant_train.published.digits.denoiser import DigitDenoiser, DigitsDenoiserConfig
from decant_train.published.digits.model import DigitAutoencoder, DigitsConfig, doubled

MNIST = Path(__file__).parents[4] / "shared" / "data" / "mnist"
OPTIONS = loop.Options(epochs=6, batch_size=32, learning_rate=3e-3, precision="float32", schedule="cosine")
COUNT = 600  # training digits


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_digits.write(tmp_path_factory.mktemp("digits"), COUNT)


@pytest.fixture(scope="module")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    recipes_digits.train_digits("default", out, OPTIONS, images=digits, progress=False)
    return out


def test_the_files_are_read(digits: Path) -> None:
    images, labels = wheel_digits.pictures()
    for part, chosen in (("train", slice(0, COUNT)), ("test", slice(1500, None))):
        found = mnist.load(digits, part)
        assert np.array_equal(found.images, images[chosen])
        assert np.array_equal(found.labels, labels[chosen])


def test_files_that_are_not_gzipped_are_read_too(digits: Path, tmp_path: Path) -> None:
    for path in digits.iterdir():
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert np.array_equal(mnist.load(tmp_path).images, mnist.load(digits).images)


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST in {MNIST}")
def test_mnist_itself() -> None:
    training, test = mnist.load(MNIST), mnist.load(MNIST, "test")
    assert (len(training), len(test)) == (60_000, 10_000)
    assert training.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert training.images.mean() == pytest.approx(33.318, abs=0.001)  # the published mean, 0.1307 * 255


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def gzipped(content: bytes) -> bytes:
    """The same bytes at any time: parametrized tests are named after them."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (IMAGES, None, "has no train-images"),
        (IMAGES, b"no gzip", "cannot be read"),
        (IMAGES, gzipped(bytes(100))[:-9], "cannot be read"),
        (IMAGES, gzipped(b"\0\0\x08"), "a header of 16"),
        (IMAGES, gzipped(wheel_digits.idx(np.zeros(20, np.uint8))), "magic number 0x00000801"),
        (IMAGES, gzipped(wheel_digits.idx(np.zeros((2, 28, 28), np.uint8))[:-1]), "2x28x28"),
        (IMAGES, gzipped(wheel_digits.idx(np.zeros((2, 28, 28), np.uint8)) + b"\0"), "2x28x28"),
        (IMAGES, gzipped(wheel_digits.idx(np.zeros((2, 20, 28), np.uint8))), "28x28 expected"),
        (IMAGES, gzipped(wheel_digits.idx(np.zeros((2, 28, 28), np.uint8))), f"{COUNT} labels"),
        (LABELS, gzipped(wheel_digits.idx(np.full(COUNT, 10, np.uint8))), "0 to 9"),
    ],
)
def test_damaged_files_are_refused(
    digits: Path, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    shutil.copytree(digits, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(mnist.DigitsError, match=said):
        mnist.load(tmp_path)


def test_a_doubled_convolution_is_upsampling_and_a_convolution() -> None:
    torch.manual_seed(1)
    conv, x = torch.nn.Conv2d(5, 3, 3, padding=1), torch.randn(2, 5, 7, 7)
    expected = conv(F.interpolate(x, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(doubled(conv, x), expected, atol=1e-5, rtol=1e-5)


def test_the_loss_falls_and_digits_are_told_apart(trained: Path, digits: Path) -> None:
    losses = [json.loads(line)["loss"] for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]
    test = mnist.load(digits, "test").images
    loaded = checkpoints.load(trained)
    assert isinstance(loaded.model, DigitAutoencoder)
    with torch.no_grad():
        latents = loaded.model.encode(torch.from_numpy(test.copy())[:, None].float() / 255)
    assert latents.shape == (297, 28)
    assert 0 <= float(latents.min()) < float(latents.max()) <= 1
    mean = mnist.load(digits).images.mean(axis=0)
    errors = [
        np.square(test - picture.astype(float)).mean()
        for picture in (recipes_digits.decoded(loaded.model, test), mean)
    ]
    assert errors[0] < 0.6 * errors[1]


def test_validation_digits_are_not_trained_on(digits: Path) -> None:
    images = mnist.load(digits).images
    training, validation = recipes_digits.split(images)
    assert (len(training), len(validation)) == (550, 50)
    assert np.array_equal(np.concatenate([training, validation]), images)
    many = np.zeros((70_000, 1, 1), np.uint8)
    assert len(recipes_digits.split(many)[1]) == 5000
    with pytest.raises(ValueError, match="12 at least"):
        recipes_digits.split(images[:11])


def test_resuming_equals_training_in_one_go(trained: Path, digits: Path, tmp_path: Path) -> None:
    options = loop.Options(epochs=3, batch_size=64, precision="float32")
    whole = recipes_digits.train_digits("default", tmp_path / "whole", options, images=digits, progress=False)
    first = replace(options, epochs=2)
    recipes_digits.train_digits("default", tmp_path / "parts", first, images=digits, progress=False)
    parts = recipes_digits.train_digits(
        "default", tmp_path / "parts", options, images=digits, resume=True, progress=False
    )
    assert parts.epoch == whole.epoch == 3
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], weight, atol=0, rtol=0, msg=name)
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 3


def test_fewer_bits_are_further_away(trained: Path, digits: Path) -> None:
    model, test = checkpoints.load(trained).model, mnist.load(digits, "test").images
    assert isinstance(model, DigitAutoencoder)
    errors = [
        np.square(test - recipes_digits.decoded(model, test, bits).astype(float)).mean() for bits in (8, 3, 1)
    ]
    assert errors[0] < errors[1] < errors[2]


def test_the_denoiser_starts_as_the_identity_and_learns(trained: Path, digits: Path, tmp_path: Path) -> None:
    fresh, pictures = DigitDenoiser(DigitsDenoiserConfig()), torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(fresh(pictures), pictures, atol=0, rtol=0)
    done = recipes_digits.train_digits_denoiser(
        "default", tmp_path, OPTIONS, decoder=trained, images=digits, progress=False
    )
    _, held_out = recipes_digits.split(mnist.load(digits).images)
    model = checkpoints.load(trained).model
    assert isinstance(model, DigitAutoencoder)
    before = recipes_digits.decoded(model, held_out)
    errors = np.square(held_out.astype(float) - before).mean(axis=(1, 2))
    psnr = float(np.mean(10 * np.log10(255**2 / errors)))
    assert done.metrics["psnr"] > psnr


def test_what_cannot_be_trained_is_refused(trained: Path, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no size 'huge'"):
        recipes_digits.train_digits("huge", tmp_path, OPTIONS, images=digits)
    with pytest.raises(CheckpointError, match="was trained as"):
        recipes_digits.train_digits(
            "default", trained, OPTIONS, images=digits, shape={"latent_dim": 9}, resume=True, progress=False
        )
    with pytest.raises(ValueError, match="noise_bits"):
        DigitsConfig(noise_bits=17)


def test_the_commands_train_and_report(digits: Path, tmp_path: Path) -> None:
    common = ["--images", str(digits), "--epochs", "1", "--quiet"]
    for command, more in (
        ("digits", ["--latent-dim", "8", "--noise-bits", "4"]),
        ("digits-denoiser", ["--checkpoint", str(tmp_path / "digits")]),
    ):
        out = tmp_path / command
        result = CliRunner().invoke(train, [command, "default", "--out", str(out), *common, *more])
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout.splitlines()[-1])["epoch"] == 1
        assert (out / "curves.svg").exists()
    assert checkpoints.load(tmp_path / "digits").config == DigitsConfig(latent_dim=8, noise_bits=4)
    options = checkpoints.load(tmp_path / "digits").options
    assert (options["batch_size"], options["learning_rate"]) == (256, 3e-3)
    result = CliRunner().invoke(
        train, ["digits", "default", "--out", str(tmp_path / "x"), "--images", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "has no train-images-idx3-ubyte.gz" in result.stderr
