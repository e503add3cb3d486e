"""The colour autoencoder: it starts as a transform coder, keeps to its bits, and learns."""

import json
from pathlib import Path

import color_model
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from decant.codec.entropy.counts import TOTAL
from decant.layouts.levels import LevelsLayout
from decant_train.cli import train
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import CheckpointError
from decant_train.data import cifar
from decant_train.data.folders import NoImagesError
from decant_train.published.color import recipe as recipes_color
from decant_train.published.color.model import (
    CENTRE,
    ColorAutoencoder,
    ColorConfig,
    level_values,
    quantized,
)
from decant_train.published.color.task import ColorTask
from PIL import Image


def begun(**changes: object) -> tuple[ColorAutoencoder, ColorTask]:
    """A model that has learnt nothing, and its task."""
    torch.manual_seed(0)
    model = ColorAutoencoder(ColorConfig(**(color_model.SHAPE | changes)))
    training, validation = recipes_color.split(color_model.photos())
    return model, ColorTask(model, training, validation)


def test_untrained_it_is_the_transform_of_the_principal_components() -> None:
    model, _ = begun(channels=192)
    pictures = torch.from_numpy(color_model.photos()[:8]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        decoded = model.decode(model.encode(pictures))
    assert float((decoded - pictures).abs().max()) < 1e-4  # all components: nothing is lost


def test_untrained_it_costs_the_bits_asked_for() -> None:
    for asked in (0.5, 1.0):
        model, task = begun(bits_per_pixel=asked, channels=64)
        task.finish()
        pixels, depths = task._training
        latents = quantized(model.encode(pixels.float() / 255), model.bits_at(depths))
        assert table_bits(model, latents, depths) == pytest.approx(asked, rel=0.15)


def table_bits(model: ColorAutoencoder, latents: torch.Tensor, depths: torch.Tensor) -> float:
    """Bits per pixel of latents in the stored tables."""
    total, places = 0.0, model.at_places(depths)
    for i, depth in enumerate(model.config.depths):
        cost = -torch.log2(model.get_buffer(f"counts_{i}").double() / TOTAL)
        levels = (latents.transpose(0, 1)[:, places == i] * 2**depth).round().long()
        total += float(torch.gather(cost, 1, levels).sum())
    return total / len(latents) / color_model.SIDE**2


def test_training_lowers_the_loss_and_counts_the_levels(tmp_path: Path) -> None:
    done = color_model.train(tmp_path, epochs=8)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    worth = [row["mse"] + rows[-1]["price"] * row["bits_per_pixel"] for row in rows]
    assert worth[-1] < worth[0]
    assert 0 < rows[-1]["accuracy"] <= 1
    model = done.model
    assert isinstance(model, ColorAutoencoder)
    for i, depth in enumerate(model.config.depths):
        counts = model.get_buffer(f"counts_{i}")
        assert counts.shape == (24, 1 << depth)
        assert (counts.sum(dim=1) == TOTAL).all()
        assert int(counts.min()) >= 1
    assert int(model.depth_counts.sum()) == TOTAL
    assert done.data == {"images": 86, "validation": 10, "source": "array", "size": "base"}


def test_it_is_saved_and_goes_on(tmp_path: Path) -> None:
    color_model.train(tmp_path, epochs=1)
    first = checkpoints.load(tmp_path)
    assert isinstance(first.model, ColorAutoencoder)
    assert first.config.depths == (10, 9, 8)
    more = color_model.train(tmp_path, epochs=2, resume=True)
    assert more.epoch == 2
    torch.testing.assert_close(more.model.thresholds, first.model.thresholds)
    with pytest.raises(CheckpointError, match="was trained as"):
        color_model.train(tmp_path, epochs=3, resume=True, shape={"channels": 25})


def test_complex_regions_get_the_depths_that_come_later(tmp_path: Path) -> None:
    model, task = begun()
    _, depths = task._training
    shares = torch.bincount(depths.reshape(-1), minlength=3) / depths.numel()
    np.testing.assert_allclose(shares.numpy(), model.config.shares, atol=0.02)
    flat = np.full((1, 32, 32, 3), 77, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    assert (ColorTask(model, flat, flat)._training[1] == 0).all()
    assert (ColorTask(model, noise, noise)._training[1] == 2).all()


def test_training_rounds_as_files_do() -> None:
    model, task = begun()
    pixels, depths = task._validation
    latents = model.encode(pixels.float() / 255).detach()
    rounded = quantized(latents, model.bits_at(depths)).numpy()
    task.finish()
    layout = LevelsLayout(
        channels=24,
        height=4,
        width=4,
        region=1,
        depths=model.config.depths,
        depth_counts=model.depth_counts.numpy().astype(np.uint32),
        counts=tuple(model.get_buffer(f"counts_{i}").numpy().astype(np.uint32) for i in range(3)),
        thresholds=model.thresholds.numpy(),
        values=tuple(map(level_values, model.config.depths)),
    )
    for picture, latent, expected in zip(pixels, latents.numpy(), rounded, strict=True):
        payload = layout.pack_picture(latent, picture.permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(layout.unpack(payload), expected)


def test_all_depths_have_the_centre_and_nest() -> None:
    for depth in range(1, 9):
        values = level_values(depth)
        assert CENTRE in values
        assert np.isin(values, level_values(depth + 1)).all()


def test_the_gradient_of_the_rate_pulls_latents_together() -> None:
    model, task = begun()
    latents = torch.full((1, 24, 4, 4), CENTRE + 0.005, requires_grad=True)
    model.rate(latents, task._training[1][:1]).sum().backward()
    assert latents.grad is not None
    assert (latents.grad > 0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 36},
        {"widths": (8, 8)},
        {"channels": 193},
        {"depths": (8, 7)},
        {"depths": (8, 7, 13)},
        {"shares": (0.5, 0.5, 0.5)},
        {"shares": (1.0, 0.5, -0.5)},
    ],
)
def test_configurations_that_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        ColorConfig(**change)


def test_bits_that_no_depth_holds_are_not_spent(caplog: pytest.LogCaptureFixture) -> None:
    model, task = begun(bits_per_pixel=6.0, depths=(7, 6, 5))
    assert "finer levels than 7 bits give" in caplog.text
    pixels, _ = task._training
    latents = model.encoder.linear(pixels.float() / 255).detach()
    assert -1e-5 < float(latents.min()) < float(latents.max()) < 1 + 1e-5  # nothing is clipped
    assert float((latents - CENTRE).abs().max()) == pytest.approx(0.5, abs=1e-4)  # and all is used


def mosaics(folder: Path) -> np.ndarray:
    """The layout of the CIFAR-100 mosaics, filled with crops of photos; the pictures of a split."""
    pictures = np.resize(color_model.photos(), (1000, 32, 32, 3))
    for name in ("train5k", "test"):
        tiles = pictures.reshape(25, 40, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(800, 1280, 3)
        Image.fromarray(tiles).save(folder / f"{name}_00.webp", lossless=True, quality=0, method=0)
    labels = (np.arange(1000) % 3).astype(np.uint8)
    np.savez(folder / "labels.npz", train5k=labels, test=labels)
    (folder / "classes.txt").write_text("apple\nbear\nclock\n")
    return pictures


def test_mosaics_are_read_whole(tmp_path: Path) -> None:
    pictures = mosaics(tmp_path)
    found = cifar.load(tmp_path, cifar.TEST)
    np.testing.assert_array_equal(found.pixels, pictures)
    assert found.classes == ("apple", "bear", "clock")
    assert found.labels[:4].tolist() == [0, 1, 2, 0]
    (tmp_path / "classes.txt").write_text("apple\nbear\n")
    with pytest.raises(NoImagesError, match="2 classes"):
        cifar.load(tmp_path, cifar.TEST)
    with pytest.raises(NoImagesError, match="holds no test"):
        cifar.load(tmp_path / "nowhere", cifar.TEST)


def test_the_command_trains(tmp_path: Path) -> None:
    out = tmp_path / "color"
    chosen = ["--epochs", "1", "--batch-size", "128", "--bits-per-pixel", "2", "--quiet"]
    depths = ["--depths", "7,8", "--shares", "0.25,0.75"]
    found = CliRunner().invoke(train, ["color", "base", "--out", str(out), *chosen, *depths])
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert said["epoch"] == 1
    assert said["psnr"] > 20
    assert checkpoints.load(out).config.depths == (7, 8)
