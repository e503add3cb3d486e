"""Training: it learns, stops, saves, goes on."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from decant_train.cli import train
from decant_train.common import checkpoint as checkpoints
from decant_train.common import loop
from decant_train.common.checkpoint import CheckpointError
from decant_train.common.convergence import converged
from decant_train.data import wheel_photos
from decant_train.published.denoiser import recipe as denoiser_recipe
from decant_train.published.denoiser.model import Denoiser, DenoiserConfig
from decant_train.published.denoiser.pairs import split_of
from decant_train.published.set import recipe as set_recipe
from PIL import Image

TINY = {"image_size": 32, "set_size": 4, "latent_dim": 4}
OPTIONS = loop.Options(epochs=12, batch_size=2, evaluate_every=4)


def run(out: Path, options: loop.Options = OPTIONS, **changes: object) -> checkpoints.Checkpoint:
    return set_recipe.train_set("small", out, options, shape=TINY, progress=False, **changes)  # type: ignore[arg-type]


def losses_of(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_the_loss_falls_on_real_photos(tmp_path: Path, plain: bool, joint: bool) -> None:
    done = run(tmp_path, replace(OPTIONS, epochs=40), plain=plain, joint=joint)
    losses = losses_of(tmp_path)
    assert len(losses) == done.epoch == 40
    assert losses[-1] < 0.6 * losses[0]
    assert done.stopped_by == "epochs"


def test_the_encoder_is_solved_for_the_trained_latents(tmp_path: Path) -> None:
    run(tmp_path)
    model = checkpoints.load(tmp_path).model
    images = torch.from_numpy(wheel_photos.crops(4, 32)).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(model.encode(images), model.latents.detach(), atol=2e-3, rtol=1e-3)


def test_resuming_equals_training_in_one_go(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", replace(OPTIONS, epochs=5))
    parts = run(tmp_path / "parts", resume=True)
    assert parts.epoch == whole.epoch == 12
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], weight, atol=0, rtol=0, msg=name)
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 12


def test_resuming_from_weights_alone_works(tmp_path: Path) -> None:
    run(tmp_path, replace(OPTIONS, epochs=2))
    (tmp_path / checkpoints.OPTIMIZER).unlink()
    assert run(tmp_path, resume=True).epoch == 12


def test_resuming_another_configuration_is_refused(tmp_path: Path) -> None:
    run(tmp_path, replace(OPTIONS, epochs=1))
    with pytest.raises(CheckpointError, match="was trained as"):
        run(tmp_path, resume=True, plain=True)


def test_minutes_run_out(tmp_path: Path) -> None:
    done = run(tmp_path, loop.Options(max_minutes=0.01, schedule="cosine", batch_size=2))
    assert done.stopped_by == "minutes"


def test_minutes_are_looked_at_after_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that moves by a second whenever it is read, a minute is over long before the epoch is."""
    seconds = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    options = loop.Options(max_minutes=1, schedule="cosine", batch_size=1, precision="float32")
    shape = {"image_size": 32, "set_size": 100, "latent_dim": 4}
    done = set_recipe.train_set("small", tmp_path, options, shape=shape, images=None, progress=False)
    assert done.stopped_by == "minutes"
    assert 40 < done.step < 70
    assert len(losses_of(tmp_path)) == done.epoch == 1


def test_a_smaller_folder_makes_a_smaller_set(tmp_path: Path) -> None:
    for i, crop in enumerate(wheel_photos.crops(3, 32)):
        Image.fromarray(crop).save(tmp_path / f"{i}.png")
    done = run(tmp_path / "out", replace(OPTIONS, epochs=1), images=tmp_path)
    assert done.config.set_size == 3
    assert done.model.latents.shape == (3, 4)


def test_convergence_is_tested_as_published() -> None:
    flat, falling = [0.01] * 100, list(np.linspace(0.02, 0.01, 100))
    assert converged(flat, 0.9000, 0.8995)
    assert not converged(falling, 0.9000, 0.8995)  # slope 1e-4 per epoch
    assert not converged(flat, 0.9000, 0.8985)  # SSIM moved by 1.5e-3
    assert not converged(flat[:99], 0.9, 0.9)
    assert not converged(flat, 0.9, None)
    assert converged([*falling, *flat], 0.9, 0.9)  # only the last 100 count


def test_training_stops_when_it_has_converged(tmp_path: Path) -> None:
    done = run(tmp_path, loop.Options(learning_rate=1e-9, batch_size=4, epochs=500))
    assert (done.stopped_by, done.epoch) == ("convergence", 200)


def test_a_checkpoint_that_is_damaged_says_so(tmp_path: Path) -> None:
    run(tmp_path, replace(OPTIONS, epochs=1))
    weights = tmp_path / checkpoints.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load(tmp_path)
    (tmp_path / checkpoints.DESCRIPTION).write_text("{}")
    with pytest.raises(CheckpointError, match="schema"):
        checkpoints.load(tmp_path)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        checkpoints.load(tmp_path / "missing")


def test_options_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="needs an end"):
        loop.Options(schedule="cosine")
    with pytest.raises(ValueError, match="precision"):
        loop.Options(precision="fp8")


def test_the_denoiser_starts_as_the_identity_and_is_light() -> None:
    denoiser = Denoiser(DenoiserConfig())
    pictures = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(denoiser(pictures), pictures)
    assert sum(p.numel() for p in denoiser.parameters()) < 1_000_000


def test_an_image_has_one_side_in_the_pairs_of_every_checkpoint() -> None:
    split = split_of(256, "photos")
    assert np.bincount(split).tolist() == [205, 25, 26]
    assert np.array_equal(split, split_of(256, "photos"))
    assert not np.array_equal(split, split_of(256, "others"))


def test_the_denoiser_learns_from_decoded_sets(tmp_path: Path) -> None:
    shape = TINY | {"set_size": 20}
    set_recipe.train_set("small", tmp_path / "set", replace(OPTIONS, epochs=30), shape=shape, progress=False)
    done = denoiser_recipe.train_denoiser(
        "light", tmp_path / "denoiser", replace(OPTIONS, epochs=20), sets=[tmp_path / "set"], progress=False
    )
    losses = losses_of(tmp_path / "denoiser")
    assert losses[-1] < losses[0]
    assert done.data["pairs"] == [16, 2, 2]
    assert {"test_ssim_before", "test_ssim"} <= done.metrics.keys()


def test_the_command_trains_and_reports(tmp_path: Path) -> None:
    arguments = [
        "set",
        "small",
        "--out",
        str(tmp_path / "out"),
        "--epochs",
        "2",
        "--quiet",
        "--image-size",
        "32",
    ]
    result = CliRunner().invoke(train, [*arguments, "--set-size", "4"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["epoch"] == 2
    assert (tmp_path / "out" / "curves.svg").stat().st_size > 1000


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = CliRunner().invoke(train, ["set", "small", "--images", str(tmp_path), "--out", out])
    assert result.exit_code == 1
    assert result.stderr.startswith("decant: ")
    assert "holds no image file" in result.stderr
    result = CliRunner().invoke(train, ["set", "huge", "--out", out])
    assert "small, base, large, xlarge" in result.stderr
