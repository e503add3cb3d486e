"""First weights: principal components, warm start, reinitialised units."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from decant_train.codec.config import RATE_POINTS
from decant_train.codec.distortion import Measure
from decant_train.codec.encoder import Encoding
from decant_train.codec.initialise import (
    coordinates_of,
    scale_hyperlatents,
    start_branches,
    start_from_principal_components,
)
from decant_train.codec.layers import Residual
from decant_train.codec.model import Codec
from decant_train.codec.sensitivity import distortion_weight
from decant_train.codec.warm_start import (
    move_rate_points,
    refined,
    reinitialise_dead_units,
    retarget,
    warm_start_from,
)
from decant_train.common.optimizers import Whitened
from decant_train.data import photos
from pytorch_msssim import ms_ssim
from small_codecs import TINY, small_codec, started_codec


def test_the_start_is_the_principal_components_codec(photo_folder: Path, tmp_path: Path) -> None:
    """At the finest quality the untrained network equals keeping the first components of each patch."""
    packed = tmp_path / "packed.safetensors"
    photos.pack(photo_folder, packed)
    training = photos.load([packed], 64, validation=False)
    torch.manual_seed(0)
    model = Codec(TINY)
    patches = training.crops(4000, 16, torch.Generator().manual_seed(0))
    start_from_principal_components(model, patches)
    picture = training.crops(2, 64, torch.Generator().manual_seed(1))
    with torch.no_grad():
        _, _, fine = model(picture, torch.full((2,), float(RATE_POINTS - 1)))
        _, _, coarse = model(picture, torch.zeros(2))
        tiles = picture.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).reshape(-1, 768) - 0.5
        basis = model.analysis.linear.weight.reshape(64, 768)
        mean = patches.reshape(-1, 768).mean(0) - 0.5
        projected = (tiles - mean) @ basis.T @ basis + mean
    ideal = float((tiles - projected).square().mean())
    assert float(fine.mean()) < 2 * ideal + 2e-4
    assert float(coarse.mean()) > float(fine.mean())


def test_the_branches_start_with_inputs_of_equal_deviations(photo_folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.safetensors"
    photos.pack(photo_folder, packed)
    patches = photos.load([packed], 64, validation=False).crops(4000, 16, torch.Generator().manual_seed(0))
    model = small_codec()
    start_from_principal_components(model, patches)
    coordinates = coordinates_of(model, patches)
    blocks = torch.nn.functional.pixel_unshuffle(patches - 0.5, 4).permute(0, 2, 3, 1).reshape(-1, 48)
    stem = coordinates[model.analysis.stem.weight]
    assert isinstance(stem, Whitened)
    white = (blocks - blocks.mean(0)) @ stem.basis.T
    covariance = white.T @ white / len(white)
    assert (covariance - covariance.diag().diag()).abs().max() < 0.02
    assert 0.98 < covariance.diag().max() < 1.02
    before = model.analysis.stem.weight.detach().clone()
    start_branches(model, coordinates)
    torch.testing.assert_close(model.analysis.stem.weight, stem.change(before))


def test_a_warm_start_copies_tensors_of_equal_shapes() -> None:
    other = small_codec()
    model = small_codec(beside=("nano", "full"), render_hidden=12)
    layer = model.synthesis.render[0]
    assert isinstance(layer, Residual)
    before = layer.first.weight.clone()
    warm_start_from(model, other)
    assert torch.equal(model.analysis.stem.weight, other.analysis.stem.weight)
    assert torch.equal(layer.first.weight, before)
    latents = torch.randn(2, 16, 4, 4)
    with torch.no_grad():  # what is wider begins as what it is beside
        torch.testing.assert_close(model.syntheses()["full"](latents), model.synthesis(latents))


def test_dead_units_are_reinitialised_without_effect() -> None:
    torch.manual_seed(0)
    model = small_codec(beside=("nano",)).eval()
    pictures = torch.rand(3, 3, 64, 64)
    scale_hyperlatents(model, pictures)
    prior, render = model.hyperprior, model.synthesis.render[0]
    assert isinstance(render, Residual)
    for layer in (prior.analysis[0], prior.mean[0], render.first):
        torch.nn.init.constant_(layer.bias, -1e3)  # as training leaves them now and then
    for layer in (prior.mean[-1], render.second):
        torch.nn.init.normal_(layer.weight)

    def made() -> list[torch.Tensor]:
        with torch.no_grad():
            return list(model(pictures, torch.full((3,), 3.5)))

    before = made()
    started = reinitialise_dead_units(model, pictures)
    assert started > 190 + 64
    for old, new in zip(before, made(), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-6)
    assert reinitialise_dead_units(model, pictures) < 0.05 * started  # by chance
    model.train()
    sum(part.mean() for part in model(pictures, torch.full((3,), 3.5))).backward()
    for layer in (prior.mean[-1], render.second):
        assert layer.weight.grad is not None
        assert (layer.weight.grad != 0).any()


@pytest.mark.usefixtures("few_probes", "few_crops")
def test_retargeting_follows_what_errors_count_in_ms_ssim(photo_folder: Path, tmp_path: Path) -> None:
    """Coarse structure gets finer steps than before, and files give more MS-SSIM for their bits."""
    photos.pack(photo_folder, tmp_path / "packed.safetensors")
    seen = photos.load([tmp_path / "packed.safetensors"], 192, validation=False)
    pictures = seen.crops(3, 192, torch.Generator().manual_seed(3))
    model = started_codec(seen, TINY, 192).eval()
    assert torch.equal(distortion_weight(model, Measure(), pictures), torch.ones(TINY.latents))
    turned = copy.deepcopy(model)
    turned.config = replace(TINY, ms_ssim=1.0)
    retarget(turned, Measure(), pictures)
    change = (turned.log_gain - model.log_gain)[0]
    assert change[:8].mean() > change[-24:].mean() + 0.2
    curves = []
    for codec in (model, turned):
        points = []
        for rate_point in (1.0, 3.0, 5.0):
            with torch.no_grad():
                sent = Encoding(codec, pictures, 0).sent(pictures, torch.full((len(pictures),), rate_point))
                decoded = (codec.synthesis(sent.latents) + 0.5).clamp(0, 1)
            lost = 1 - ms_ssim(decoded, pictures, data_range=1.0)
            points.append([float(-lost.log()), float(sent.bits.log().mean())])
        curves.append(np.array(points).T)
    low, high = (end([curve[0, i] for curve in curves]) for i, end in ((0, max), (-1, min)))
    rates = [np.interp(np.linspace(low, high, 20), *curve) for curve in curves]
    assert (rates[1] - rates[0]).mean() < -0.01


def test_a_refined_entropy_model_starts_as_the_one_it_refines() -> None:
    torch.manual_seed(3)
    old = small_codec(channel_groups=(4, 12), predicted_channels=6).eval()
    prior = old.hyperprior
    with torch.no_grad():
        for parameter in (*prior.contexts.parameters(), *prior.checkerboard_contexts.parameters()):
            parameter.normal_(std=0.3)
        for parameter in prior.checkerboard_means.parameters():
            parameter.normal_(std=0.3)
        prior.prediction.weight.normal_(std=0.3)  # type: ignore[union-attr]
    finer = replace(
        old.config, channel_groups=(4, 4, 8), checkerboard_groups=2, context_width=11, mixed_width=13
    )
    finer = replace(finer, predicted_channels=12, prediction_inputs=8)
    new = refined(old, finer)
    assert new.config == finer
    symbols, z = torch.randint(-9, 9, (2, 16, 8, 8)).float(), torch.randn(2, 4, 2, 2).mul(16).round() / 16
    gain, offset = torch.rand(2, 16, 1, 1) + 0.5, torch.full((2, 16), 16.0)
    with torch.no_grad():
        classes = prior.scale_indices(z, offset, symbols)
        assert torch.equal(new.hyperprior.scale_indices(z, offset, symbols), classes)
        assert torch.equal(new.hyperprior.means(symbols, symbols, gain), prior.means(symbols, symbols, gain))
    for channel_groups in ((8, 8), (2, 2, 12)):
        with pytest.raises(ValueError, match="do not split"):
            refined(old, replace(finer, channel_groups=channel_groups, predicted_channels=0))
    with pytest.raises(ValueError, match="only the prior"):
        refined(old, replace(finer, render_layers=old.config.render_layers + 1, render_hidden=5))
    with pytest.raises(ValueError, match="cannot be refined again"):
        refined(new, finer)


def test_rate_points_move_with_their_lambdas() -> None:
    """Where both ranges reach, a lambda keeps its gains; beyond, gains go on to rise."""
    old = Codec(TINY)
    with torch.no_grad():
        for i, weight in enumerate(TINY.lambdas):
            old.log_gain[i] = math.log(weight) / 2
            old.log_hyper_gain[i] = float(i)
    new = Codec(replace(TINY, highest_lambda=1.0))
    warm_start_from(new, old)
    move_rate_points(new, TINY.highest_lambda)
    expected = torch.tensor(new.config.lambdas).log()[:, None] / 2
    torch.testing.assert_close(new.log_gain.detach(), expected.expand_as(new.log_gain))
    assert float(new.log_hyper_gain[-1].detach().max()) == len(TINY.lambdas) - 1
