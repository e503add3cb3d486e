"""The encoder of training: sensitivity of the synthesis, RDO quantization, latent refinement."""

from pathlib import Path

import torch
from decant_train.codec.encoder import Encoding
from decant_train.codec.initialise import scale_hyperlatents, start_from_principal_components
from decant_train.codec.model import Codec
from decant_train.codec.rate import interpolated_lambdas
from decant_train.codec.sensitivity import curvature, peak_energy, sensitivity, single_latent_energy
from decant_train.data import photos
from small_codecs import TINY, linear_codec, small_codec


@torch.no_grad()
def test_curvatures_bound_what_latents_change_in_the_picture() -> None:
    codec = linear_codec()
    single = single_latent_energy(codec.synthesis, codec.hyperprior.deviation)
    bound = curvature(codec.synthesis, single)[:, None, None]
    zero = torch.zeros(1, 16, 12, 12)
    base, ratios = codec.synthesis(zero), []
    for seed in range(20):
        change = torch.randn(zero.shape, generator=torch.Generator().manual_seed(seed)) / bound.sqrt()
        made = (codec.synthesis(change) - base).square().sum()
        ratios.append(float(made / (bound * change.square()).sum()))
    assert max(ratios) <= 1
    assert max(ratios) > 0.1


@torch.no_grad()
def test_peaks_of_a_linear_synthesis_are_its_columns() -> None:
    codec = linear_codec()
    found = peak_energy(codec.synthesis, torch.randn(2, 16, 12, 12))
    ratio = found / single_latent_energy(codec.synthesis, codec.hyperprior.deviation)
    assert (ratio > 0.7).all()
    assert (ratio < 1.4).all()


@torch.no_grad()
def test_steps_are_shorter_where_layers_make_more_of_latents() -> None:
    """Here a layer doubles what all latents make, where it lets through: not at latents of 0."""
    codec, pictures = small_codec().eval(), torch.rand(2, 3, 64, 64)
    rdo_weight, calm = sensitivity(codec, pictures)
    (layer,) = codec.synthesis.render
    width = layer.second.out_channels
    layer.first.weight.zero_()
    layer.first.weight[:, :, 1, 1] = torch.eye(len(layer.first.weight), width)
    layer.first.bias.fill_(-10)
    layer.second.weight.copy_(torch.eye(width, len(layer.first.weight))[:, :, None, None])
    codec.analysis.linear.weight.mul_(1e4)
    same, bound = sensitivity(codec, pictures)
    torch.testing.assert_close(same, rdo_weight, rtol=0.3, atol=0)
    assert (bound > 1.5 * calm).float().mean() > 0.5


@torch.no_grad()
def test_latent_refinement_corrects_a_synthesis_that_the_analysis_does_not_know() -> None:
    codec = linear_codec()
    random = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(100, 3, 8, 8, generator=random), scale_factor=8, mode="bicubic"
    )
    patches = smooth.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 16, 16)
    start_from_principal_components(codec, patches)
    pictures, rate_point = smooth[:2] - 0.5, torch.full((2,), 6.0)
    best = float((codec.synthesis(codec.analysis(pictures)) - pictures).square().mean())
    codec.synthesis.up.weight.mul_(1.4)  # the analysis does not know
    before = float((codec.synthesis(codec.analysis(pictures)) - pictures).square().mean())
    targets = Encoding(codec, pictures + 0.5).sent(pictures + 0.5, rate_point).targets
    after = float((codec.synthesis(targets) - pictures).square().mean())
    assert after - best < 0.3 * (before - best)


def test_the_analysis_learns_from_its_own_error_where_an_encoder_chooses() -> None:
    """And everything else from what it sends. Of latents that are rounded, all learns from all."""
    model = small_codec(render_hidden=12).train()
    torch.nn.init.normal_(model.analysis.out.weight, std=0.1)
    torch.nn.init.normal_(model.hyperprior.mean[-1].weight, std=0.1)
    pictures, rate_point = torch.rand(2, 3, 64, 64), torch.tensor([2.0, 5.0])
    names = [name for name, _ in model.named_parameters()]

    def moved(loss: torch.Tensor) -> set[str]:
        found = torch.autograd.grad(
            loss.sum(), list(model.parameters()), allow_unused=True, retain_graph=True
        )
        return {name for name, slope in zip(names, found, strict=True) if slope is not None and slope.any()}

    plain = model.terms(pictures, rate_point)
    for loss in (plain.error, plain.y_bits):
        assert {"analysis.linear.weight", "analysis.out.weight", "log_gain"} <= moved(loss)
    assert not plain.analysis_error.any()
    terms = model.terms(pictures, rate_point, Encoding(model, pictures, rounds=1))
    assert all(name.startswith("analysis") for name in moved(terms.analysis_error))
    assert not any(name.startswith(("analysis", "hyperprior")) for name in moved(terms.error))
    rate = moved(terms.y_bits) | moved(terms.z_bits)
    assert not any(name.startswith(("analysis", "synthesis")) for name in rate)
    assert {"log_gain", "scale_offset", "hyperprior.mean.6.weight"} <= rate
    assert all(name.startswith("hyperprior.analysis") for name in moved(terms.hyper_square))
    without = model.terms(pictures, rate_point, Encoding(model, pictures, rounds=1), analysis=False)
    assert not without.analysis_error.requires_grad
    torch.testing.assert_close(without.error, terms.error)


@torch.no_grad()
def test_the_encoder_trades_bits_for_distortion(photo_folder: Path, tmp_path: Path) -> None:
    """What it sends costs less than what is rounded, in bits + lambda distortion; less after corrections."""
    packed = tmp_path / "packed.safetensors"
    photos.pack(photo_folder, packed)
    seen = photos.load([packed], 128, validation=False)
    torch.manual_seed(0)
    model = Codec(TINY).eval()
    start_from_principal_components(model, seen.crops(4000, 16, torch.Generator().manual_seed(0)))
    pictures, rate_point = seen.crops(4, 128, torch.Generator().manual_seed(1)), torch.full((4,), 3.0)
    scale_hyperlatents(model, pictures)
    model.synthesis.last.weight += 0.01 * torch.randn_like(model.synthesis.last.weight)
    weight = 255**2 * interpolated_lambdas(model.config, rate_point)
    y_bits, z_bits, error = model(pictures, rate_point)
    losses = [(y_bits + z_bits + weight * error[0]).mean()]
    for rounds in (0, 3):
        sent = Encoding(model, pictures, rounds).sent(pictures, rate_point)
        made = model.synthesis(sent.latents).clamp(-0.5, 0.5)
        losses.append((sent.bits + weight * (made - (pictures - 0.5)).square().mean((1, 2, 3))).mean())
    assert losses[0] > losses[1] > losses[2]
