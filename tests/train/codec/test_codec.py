"""The codec's trainer: its start, its rate, its loop."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from decant_train.cli import train
from decant_train.codec import encoder as codec_encoding
from decant_train.codec import finetune as codec_finish
from decant_train.codec import recipe as recipes
from decant_train.codec import train as codec_loop
from decant_train.codec.config import CLASSES, LEAK, RATE_POINTS, CodecConfig
from decant_train.codec.distortion import Measure, distortion
from decant_train.codec.encoder import Encoding, at_zero, counted, curvature, metrics, peaks
from decant_train.codec.entropy_model import anchor_positions, class_scale, scale_to_class
from decant_train.codec.finetune import FinishOptions, _Synthesis, finish
from decant_train.codec.initialise import (
    begin_with,
    coordinates_of,
    refined,
    revive,
    scale_hyperlatents,
    start_branches,
    start_from_principal_components,
    turn_from,
)
from decant_train.codec.layers import Rectifier, Residual
from decant_train.codec.model import FAMILY, Codec, part
from decant_train.codec.rate import interpolated_lambdas, rate, symbol_bits
from decant_train.codec.train import CodecOptions, _groups, _move_together, _spread, positions
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.common.optimizers import Clip, MuonAdam, Scaled, Whitened, orthogonal
from decant_train.data import photos, wheel_photos
from PIL import Image
from pytorch_msssim import ms_ssim
from safetensors.torch import load_file

TINY = CodecConfig(
    latents=64,
    stages=(8, 24, 32),
    render_width=16,
    render_hidden=16,
    analysis_width=16,
    analysis_blocks=1,
    hyper=8,
    predicted=16,
)


TWO = replace(TINY, beside=("nano",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for package, name in wheel_photos.PHOTOS:
        wheel_photos.photo(package, name).save(folder / f"{Path(name).stem}_01a.png")
    return folder


def begun(seen: photos.Photos, config: CodecConfig, crop: int = 128) -> Codec:
    """A codec of ``config`` set to the principal components of ``seen``."""
    torch.manual_seed(0)
    model = Codec(config)
    start_from_principal_components(model, seen.crops(2000, 16, torch.Generator().manual_seed(0)))
    scale_hyperlatents(model, seen.crops(4, crop, torch.Generator().manual_seed(0)))
    return model


def with_validation(folder: Path, into: Path) -> Path:
    """A folder ``into`` of the photos in ``folder``, and one of them again under a name that is kept for
    validation.
    """
    names = (f"photo_{i:04}.png" for i in range(2000) if photos.is_validation(f"photo_{i:04}.png"))
    into.mkdir()
    for path in folder.iterdir():
        Image.open(path).save(into / path.name)
    Image.open(folder / "coffee_01a.png").save(into / next(names))
    return into


def test_symbol_probabilities_sum_to_one_and_keep_a_gradient_in_the_tails() -> None:
    symbols = torch.arange(-4000, 4001).float()
    for scale in (0.11, 1.0, 20.0):
        mass = torch.exp2(-symbol_bits(symbols, torch.tensor(scale)))
        assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    scale = torch.tensor(0.2, requires_grad=True)
    symbol_bits(torch.tensor(9.0), scale).backward()
    assert scale.grad is not None
    assert scale.grad < 0  # a larger scale would cost less


def test_the_rate_counts_symbols_and_has_the_gradient_of_noise_on_average() -> None:
    torch.manual_seed(0)
    x = torch.tensor([0.0, 0.2, -0.6, 1.4, -7.3], requires_grad=True)
    scale = torch.tensor([0.3, 0.15, 0.7, 2.0, 5.0], requires_grad=True)
    bits = rate(x, x.round(), scale)
    assert torch.equal(bits, symbol_bits(x.round(), scale))
    slope, of_scale = torch.autograd.grad(bits.sum(), (x, scale))
    noisy = x + torch.rand(100_000, 5) - 0.5
    (expected,) = torch.autograd.grad(symbol_bits(noisy, scale).mean(0).sum(), x)
    torch.testing.assert_close(slope, expected, atol=0.05, rtol=0.05)
    (exact,) = torch.autograd.grad(symbol_bits(x.round().detach(), scale).sum(), scale)
    assert torch.equal(of_scale, exact)


def test_scale_classes_invert() -> None:
    index = torch.linspace(0, CLASSES - 1, 50)
    torch.testing.assert_close(scale_to_class(class_scale(index)), index, atol=1e-4, rtol=1e-4)


def test_the_start_is_the_principal_components_codec(folder: Path) -> None:
    """At the finest quality the untrained network equals keeping the first components of each patch."""
    packed = folder.parent / "packed.safetensors"
    photos.pack(folder, packed)
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


def test_crops_are_pieces_of_the_pictures() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    store = photos.Photos([pixels], ["a"])
    for crop in store.crops(6, 32, torch.Generator().manual_seed(0)):
        found = (crop.permute(1, 2, 0) * 255).round().byte().numpy()
        windows = (pixels[t : t + 32, left : left + 32] for t in range(9) for left in range(19))
        assert any(np.array_equal(found, w) or np.array_equal(found, w[:, ::-1]) for w in windows)


def test_grain_has_deviations_within_bounds_and_no_mean() -> None:
    found = 255 * photos.grain(64, 64, torch.Generator().manual_seed(0))
    assert abs(float(found.mean())) < 0.05
    deviations = found.std((1, 2, 3))
    assert float(deviations.min()) > 0.8 * photos.LEAST_NOISE
    assert float(deviations.max()) < 1.2 * photos.MOST_NOISE
    assert float(deviations.max()) > 3 * float(deviations.min())


def test_whole_and_detail_of_one_photograph_stay_on_one_side() -> None:
    assert photos.group_of("large_0012a.jpg") == photos.group_of("large_0012b.jpg")
    assert photos.group_of("coca.jpg") == "coca"
    names = [f"large_{i:04}{part}.jpg" for i in range(2000) for part in "ab"]
    sides = [photos.is_validation(name) for name in names]
    assert sides[::2] == sides[1::2]
    assert 0.01 < np.mean(sides) < 0.06


def test_packing_in_parts_keeps_every_picture_once(folder: Path, tmp_path: Path) -> None:
    counts = [photos.pack(folder, tmp_path / f"{i}.safetensors", part=i, parts=3) for i in range(3)]
    assert sum(counts) == len(wheel_photos.PHOTOS)


def test_corrupt_pictures_in_a_packed_file_are_skipped(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "bad.png").write_bytes(b"nothing")
    for name in ("good.png", "other.png"):
        Image.open(folder / "coffee_01a.png").save(source / name)
    packed = tmp_path / "packed.safetensors"
    photos.pack(source, packed)
    sides = [photos.load([packed], 64, validation=validation).names for validation in (False, True)]
    assert sorted(name for names in sides for name in names) == ["good.png", "other.png"]


@pytest.fixture
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarser bounds of what errors do, in less time."""
    monkeypatch.setattr(codec_encoding, "_PROBES", 6)


@pytest.fixture
def few_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation on few crops."""
    monkeypatch.setattr(codec_loop, "VALIDATION_CROPS", 2)


@pytest.mark.usefixtures("few_probes")
def test_the_command_trains_and_resumes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILY.sizes, "tiny", TINY)
    source = with_validation(folder, tmp_path / "in")
    base = [
        "codec",
        "tiny",
        "--images",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--crop",
        "64",
        "--beside",
        "nano",
        "--quiet",
    ]
    result = CliRunner().invoke(train, [*base, "--batch-size", "2", "--steps", "3"])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(train, [*base, "--batch-size", "2", "--steps", "5", "--resume"])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 5]
    assert all(f"{of}psnr_{anchor}" in rows[-1] for anchor in range(RATE_POINTS) for of in ("", "nano_"))
    assert checkpoints.load(tmp_path / "out").step == 5


@pytest.mark.usefixtures("few_probes")
def test_syntheses_are_finished_on_what_the_encoder_sends(folder: Path, tmp_path: Path) -> None:
    """Those asked for are mended, and nothing else moves."""
    photos.pack(folder, tmp_path / "packed.safetensors")
    seen = photos.load([tmp_path / "packed.safetensors"], 128, validation=False)
    model = begun(seen, replace(TINY, beside=("nano", "full")))
    with torch.no_grad():
        for synthesis in model.syntheses().values():
            synthesis.last.weight += 0.02 * torch.randn_like(synthesis.last.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = FinishOptions(steps=160, crop=128, batch_size=2, reuse=20, linear_rate=0.1, log_every=40)
    start = Checkpoint("codec", model.config, model)
    finish(start, seen, seen, tmp_path / "out", options, parts=("", "nano"), progress=False)
    kept = checkpoints.load(tmp_path / "out")
    assert isinstance(kept.model, Codec)
    for name, value in kept.model.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith(("synthesis", "beside.nano")), name
    rows = [json.loads(line) for line in (tmp_path / "out" / "finish.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == [*3 * [""], *3 * ["nano"]]
    for part_name, prefix in (("", ""), ("nano", "nano_")):
        curve = [row["psnr"] for row in rows if row["part"] == part_name]
        assert curve[0] == kept.metrics[f"{prefix}begun_psnr"]
        assert curve[-1] == kept.metrics[f"{prefix}finished_psnr"]
        assert curve[-1] > curve[0] + 0.1


@pytest.mark.usefixtures("few_probes")
def test_the_prior_is_finished_on_the_symbols_that_are_sent(folder: Path, tmp_path: Path) -> None:
    """They take fewer bits then; only the networks that symbols go into move."""
    photos.pack(folder, tmp_path / "packed.safetensors")
    seen = photos.load([tmp_path / "packed.safetensors"], 128, validation=False)
    model = begun(seen, replace(TINY, beside=("nano",)))
    pictures, position = seen.crops(8, 128, torch.Generator().manual_seed(3)), torch.full((8,), 2.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bits = [float(Encoding(model, pictures).sent(pictures, position).bits.mean())]
    options = FinishOptions(steps=120, crop=128, batch_size=2, prior_reuse=20, prior_rate=5e-3, log_every=40)
    start = Checkpoint("codec", model.config, model)
    finish(start, seen, seen, tmp_path / "out", options, parts=("prior",), progress=False)
    kept = checkpoints.load(tmp_path / "out")
    assert isinstance(kept.model, Codec)
    bits.append(float(Encoding(kept.model, pictures).sent(pictures, position).bits.mean()))
    assert bits[1] < 0.98 * bits[0]
    assert kept.metrics["prior_finished_score"] < kept.metrics["prior_begun_score"]
    moved = {name for name, value in kept.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved} == {
        "class_hidden", "class_out", "contexts", "half_contexts", "half_means", "prediction",
    }  # fmt: skip
    assert {name.split(".")[0] for name in moved} == {"hyperprior"}


@pytest.mark.usefixtures("few_probes")
def test_the_command_gives_a_size_a_prior_of_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with the weights of the size; only its prior moves, means of hyperlatents too when asked."""
    source = with_validation(folder, tmp_path / "in")
    model = begun(
        photos.load([photos.packed(source, tmp_path / "p.safetensors")], 128, validation=False), TWO
    )
    checkpoints.save(tmp_path / "shared", Checkpoint("codec", model.config, model))
    finer = {"stages": (8, 8, 16, 32), "halves": 2, "context_width": 50, "mixed_width": 52}
    monkeypatch.setattr(recipes, "OWN_PRIOR", finer | {"predicted": 56, "predicting": 16})
    monkeypatch.setattr(codec_finish, "VALIDATION_CROPS", 2)
    command = ["finish", str(tmp_path / "shared"), "--images", str(source), "--out", str(tmp_path / "own")]
    command += ["--steps", "4", "--batch-size", "2", "--crop", "128", "--quiet", "--part", "prior"]
    result = CliRunner().invoke(train, [*command, "--own-prior", "nano", "--mean-rate", "0.1"])
    assert result.exit_code == 0, result.output
    own, before = checkpoints.load(tmp_path / "own").model, part(model, "nano").state_dict()
    assert isinstance(own, Codec)
    assert (own.config.beside, own.config.halves, own.config.predicting) == ((), 2, 16)
    for name, value in own.state_dict().items():
        if name.startswith(("analysis", "synthesis", "hyperprior.analysis", "log_")):
            assert torch.equal(value, before[name]), name
    rows = [json.loads(line) for line in (tmp_path / "own" / "finish.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 4]
    result = CliRunner().invoke(train, [*command, "--own-prior", "huge"])
    assert result.exit_code == 1
    assert "no synthesis 'huge'" in result.output


def test_a_synthesis_is_finished_for_the_distortion_of_its_codec(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Codec(replace(TINY, ms_ssim=0.8)).eval()
    torch.nn.init.normal_(model.synthesis.last.weight, std=0.05)
    latents, pictures = torch.randn(2, TINY.latents, 12, 12), torch.rand(2, 3, 192, 192)
    options = FinishOptions(steps=1)
    with torch.no_grad():
        encoding = Encoding(model, pictures, 0)
        loss = _Synthesis(model, options).loss(encoding, latents, pictures, torch.tensor([1.0, 3.0]))
        found = distortion(model.synthesis(latents), pictures, Measure(0.8))
    assert float(loss) == pytest.approx(255**2 * float((found * torch.tensor([1.0, 3.0])).mean()), rel=0.02)
    start, seen = (
        Checkpoint("codec", model.config, model),
        photos.Photos([np.zeros((256, 256, 3), np.uint8)], ["a"]),
    )
    with pytest.raises(ValueError, match="needs crops of 192 pixels"):
        finish(start, seen, seen, tmp_path, replace(options, crop=128), progress=False)


@pytest.mark.usefixtures("few_probes")
def test_steps_turn_to_what_errors_count_in_ms_ssim(folder: Path, tmp_path: Path) -> None:
    """Coarse structure gets finer steps than before, and files give more MS-SSIM for their bits."""
    photos.pack(folder, tmp_path / "packed.safetensors")
    seen = photos.load([tmp_path / "packed.safetensors"], 192, validation=False)
    pictures = seen.crops(3, 192, torch.Generator().manual_seed(3))
    model = begun(seen, TINY, 192).eval()
    assert torch.equal(counted(model, Measure(), pictures), torch.ones(TINY.latents))
    turned = copy.deepcopy(model)
    turned.config = replace(TINY, ms_ssim=1.0)
    turn_from(turned, Measure(), pictures)
    change = (turned.log_gain - model.log_gain)[0]
    assert change[:8].mean() > change[-24:].mean() + 0.2
    curves = []
    for codec in (model, turned):
        points = []
        for place in (1.0, 3.0, 5.0):
            with torch.no_grad():
                sent = Encoding(codec, pictures, 0).sent(pictures, torch.full((len(pictures),), place))
                decoded = (codec.synthesis(sent.latents) + 0.5).clamp(0, 1)
            lost = 1 - ms_ssim(decoded, pictures, data_range=1.0)
            points.append([float(-lost.log()), float(sent.bits.log().mean())])
        curves.append(np.array(points).T)
    low, high = (end([curve[0, i] for curve in curves]) for i, end in ((0, max), (-1, min)))
    rates = [np.interp(np.linspace(low, high, 20), *curve) for curve in curves]
    assert (rates[1] - rates[0]).mean() < -0.01


@pytest.mark.usefixtures("few_probes", "few_tests")
def test_a_codec_turned_to_ms_ssim_keeps_the_encoder_it_begins_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILY.sizes, "tiny", TINY)
    source = with_validation(folder, tmp_path / "in")
    command = ["codec", "tiny", "--images", str(source), "--batch-size", "2", "--steps", "4", "--quiet"]
    for out, more in (("plain", []), ("turned", ["--ms-ssim", "0.8", "--keep-encoder", "--begin"])):
        begin = [str(tmp_path / "plain")] if more else []
        result = CliRunner().invoke(train, [*command, "--out", str(tmp_path / out), *more, *begin])
        assert result.exit_code == 0, result.output
    result = CliRunner().invoke(train, [*command, "--out", str(tmp_path / "new"), "--keep-encoder"])
    assert result.exit_code == 1
    assert "begin with a checkpoint" in result.output
    plain, turned = (checkpoints.load(tmp_path / name).model for name in ("plain", "turned"))
    assert isinstance(turned, Codec)
    assert turned.config == replace(TINY, ms_ssim=0.8)
    kept = ("analysis.", "hyperprior.analysis.", "hyperprior.mean.", "hyperprior.deviation")
    before = plain.state_dict()
    for name, value in turned.state_dict().items():
        assert torch.equal(value, before[name]) or not name.startswith(kept), name
    for name in ("log_gain", "class_offset", "synthesis.up.weight", "hyperprior.class_out.weight"):
        assert not torch.equal(turned.state_dict()[name], before[name]), name
    # Kept as what differs from the other, it is the same codec.
    of = ["--of", str(tmp_path / "plain")]
    result = CliRunner().invoke(
        train, ["compact", str(tmp_path / "turned"), "--out", str(tmp_path / "b"), *of]
    )
    assert result.exit_code == 0, result.output
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("b", "turned")]
    assert sizes[0] < 0.7 * sizes[1]
    found = checkpoints.load(tmp_path / "b").model.state_dict()
    for name, value in turned.state_dict().items():
        assert torch.allclose(found[name], value, atol=1e-2), name
        assert torch.equal(found[name], value) or not name.startswith(kept), name
    (tmp_path / "plain" / "checkpoint.json").unlink()
    with pytest.raises(checkpoints.CheckpointError, match="plain is not a checkpoint"):
        checkpoints.load(tmp_path / "b")


def test_options_without_an_end_are_refused() -> None:
    with pytest.raises(ValueError, match="budget"):
        FinishOptions()
    with pytest.raises(ValueError, match="budget"):
        CodecOptions()
    with pytest.raises(ValueError, match="multiple of 64"):
        CodecOptions(steps=1, crop=100)
    with pytest.raises(ValueError, match=r"narrow \+ widen"):
        CodecOptions(steps=1, narrow=0.8, widen=0.3)


def test_training_begins_at_the_middle_quality_and_widens_to_all() -> None:
    options = CodecOptions(steps=1, narrow=0.5, widen=0.25, reach=1.0)
    assert [_spread(options, done) for done in (0, 0.49, 0.625, 0.75, 1)] == [0, 0, 0.5, 1, 1]
    assert _spread(replace(options, reach=0.4), 0.625) == pytest.approx(0.2)
    assert [_spread(replace(options, narrow=0.0, widen=0.0), done) for done in (0, 1)] == [1, 1]
    draw = torch.Generator().manual_seed(0)
    middle = (RATE_POINTS - 1) / 2
    assert positions(5, 0.0, draw).tolist() == 5 * [middle]
    half, full = (positions(4000, spread, draw) - middle for spread in (0.5, 1.0))
    assert 0.45 * middle < half.abs().max() <= 0.5 * middle
    assert 0.95 * middle < full.abs().max() <= middle
    assert float(full.mean()) == pytest.approx(0, abs=0.1)


def test_qualities_that_a_batch_lacks_move_with_those_it_has() -> None:
    codec = small_codec()
    gradient = torch.zeros_like(codec.log_gain)
    gradient[3], gradient[4] = 1.0, 2.0
    codec.log_gain.grad = gradient.clone()
    _move_together(codec, 0.25)
    assert torch.equal(codec.log_gain.grad, 0.25 * gradient + 0.75 * 3)
    assert codec.log_hyper_gain.grad is None


def small_codec(**changes: Any) -> Codec:
    torch.manual_seed(1)
    shape = CodecConfig(
        latents=16,
        stages=(4, 12),
        hyper=4,
        class_width=4,
        context_width=4,
        analysis_width=8,
        analysis_blocks=1,
        render_width=8,
        render_layers=1,
        render_hidden=8,
    )
    return Codec(replace(shape, **changes))


def linear_codec() -> Codec:
    """A codec without rectifiers in its decoder, with weights that are not orthogonal."""
    return small_codec(render_layers=0).eval()


@torch.no_grad()
def test_curvatures_bound_what_latents_change_in_the_picture() -> None:
    codec = linear_codec()
    single = at_zero(codec.synthesis, codec.hyperprior.deviation)
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
    found = peaks(codec.synthesis, torch.randn(2, 16, 12, 12))
    ratio = found / at_zero(codec.synthesis, codec.hyperprior.deviation)
    assert (ratio > 0.7).all()
    assert (ratio < 1.4).all()


@torch.no_grad()
def test_steps_are_shorter_where_layers_make_more_of_latents() -> None:
    """Here a layer doubles what all latents make, where it lets through: not at latents of 0."""
    codec, pictures = small_codec().eval(), torch.rand(2, 3, 64, 64)
    worth, calm = metrics(codec, pictures)
    (layer,) = codec.synthesis.render
    width = layer.second.out_channels
    layer.first.weight.zero_()
    layer.first.weight[:, :, 1, 1] = torch.eye(len(layer.first.weight), width)
    layer.first.bias.fill_(-10)
    layer.second.weight.copy_(torch.eye(width, len(layer.first.weight))[:, :, None, None])
    codec.analysis.linear.weight.mul_(1e4)
    same, bound = metrics(codec, pictures)
    torch.testing.assert_close(same, worth, rtol=0.3, atol=0)
    assert (bound > 1.5 * calm).float().mean() > 0.5


@torch.no_grad()
def test_the_encoder_aims_at_latents_that_the_decoder_makes_the_picture_of() -> None:
    codec = linear_codec()
    random = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(100, 3, 8, 8, generator=random), scale_factor=8, mode="bicubic"
    )
    patches = smooth.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 16, 16)
    start_from_principal_components(codec, patches)
    pictures, position = smooth[:2] - 0.5, torch.full((2,), 6.0)
    best = float((codec.synthesis(codec.analysis(pictures)) - pictures).square().mean())
    codec.synthesis.up.weight.mul_(1.4)  # the analysis does not know
    before = float((codec.synthesis(codec.analysis(pictures)) - pictures).square().mean())
    aims = Encoding(codec, pictures + 0.5).sent(pictures + 0.5, position).aims
    after = float((codec.synthesis(aims) - pictures).square().mean())
    assert after - best < 0.3 * (before - best)


def test_a_part_decodes_as_it_was_trained() -> None:
    model = small_codec(beside=("nano",)).eval()
    light = part(model, "nano")
    pictures, position = torch.rand(2, 3, 64, 64), torch.tensor([1.0, 5.0])
    with torch.no_grad():
        _, _, both = model(pictures, position)
        _, _, alone = light(pictures, position)
    assert both.shape == (2, 2)
    assert torch.allclose(both[1], alone[0])
    with pytest.raises(ValueError, match="no synthesis 'nano' was trained beside"):
        part(light, "nano")
    with pytest.raises(ValueError, match="no size huge"):
        small_codec(beside=("huge",))


def test_a_codec_begins_with_what_another_has_in_its_shapes() -> None:
    other = small_codec()
    model = small_codec(beside=("nano", "full"), render_hidden=12)
    layer = model.synthesis.render[0]
    assert isinstance(layer, Residual)
    before = layer.first.weight.clone()
    begin_with(model, other)
    assert torch.equal(model.analysis.stem.weight, other.analysis.stem.weight)
    assert torch.equal(layer.first.weight, before)
    latents = torch.randn(2, 16, 4, 4)
    with torch.no_grad():  # what is wider begins as what it is beside
        torch.testing.assert_close(model.syntheses()["full"](latents), model.synthesis(latents))


def test_units_that_are_off_start_again_and_change_nothing() -> None:
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
    started = revive(model, pictures)
    assert started > 190 + 64
    for old, new in zip(before, made(), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-6)
    assert revive(model, pictures) < 0.05 * started  # by chance
    model.train()
    sum(part.mean() for part in model(pictures, torch.full((3,), 3.5))).backward()
    for layer in (prior.mean[-1], render.second):
        assert layer.weight.grad is not None
        assert (layer.weight.grad != 0).any()


def test_rectifiers_keep_a_gradient_in_training_only() -> None:
    relu = Rectifier()
    for training, slope in ((True, LEAK), (False, 0.0)):
        relu.train(training)
        x = torch.tensor([-2.0, 3.0], requires_grad=True)
        made = relu(x)
        made.sum().backward()
        assert made.tolist() == [0, 3]
        assert x.grad is not None
        assert x.grad.tolist() == pytest.approx([slope, 1])


def test_the_analysis_learns_from_its_own_error_where_an_encoder_chooses() -> None:
    """And everything else from what it sends. Of latents that are rounded, all learns from all."""
    model = small_codec(render_hidden=12).train()
    torch.nn.init.normal_(model.analysis.out.weight, std=0.1)
    torch.nn.init.normal_(model.hyperprior.mean[-1].weight, std=0.1)
    pictures, position = torch.rand(2, 3, 64, 64), torch.tensor([2.0, 5.0])
    names = [name for name, _ in model.named_parameters()]

    def moved(loss: torch.Tensor) -> set[str]:
        found = torch.autograd.grad(
            loss.sum(), list(model.parameters()), allow_unused=True, retain_graph=True
        )
        return {name for name, slope in zip(names, found, strict=True) if slope is not None and slope.any()}

    plain = model.terms(pictures, position)
    for loss in (plain.error, plain.y_bits):
        assert {"analysis.linear.weight", "analysis.out.weight", "log_gain"} <= moved(loss)
    assert not plain.analysis_error.any()
    terms = model.terms(pictures, position, Encoding(model, pictures, rounds=1))
    assert all(name.startswith("analysis") for name in moved(terms.analysis_error))
    assert not any(name.startswith(("analysis", "hyperprior")) for name in moved(terms.error))
    rate = moved(terms.y_bits) | moved(terms.z_bits)
    assert not any(name.startswith(("analysis", "synthesis")) for name in rate)
    assert {"log_gain", "class_offset", "hyperprior.mean.6.weight"} <= rate
    without = model.terms(pictures, position, Encoding(model, pictures, rounds=1), analysis=False)
    assert not without.analysis_error.requires_grad
    torch.testing.assert_close(without.error, terms.error)


@torch.no_grad()
def test_the_encoder_trades_bits_for_distortion(folder: Path) -> None:
    """What it sends costs less than what is rounded, in bits + lambda distortion; less after corrections."""
    packed = folder.parent / "traded.safetensors"
    photos.pack(folder, packed)
    seen = photos.load([packed], 128, validation=False)
    torch.manual_seed(0)
    model = Codec(TINY).eval()
    start_from_principal_components(model, seen.crops(4000, 16, torch.Generator().manual_seed(0)))
    pictures, position = seen.crops(4, 128, torch.Generator().manual_seed(1)), torch.full((4,), 3.0)
    scale_hyperlatents(model, pictures)
    model.synthesis.last.weight += 0.01 * torch.randn_like(model.synthesis.last.weight)
    weight = 255**2 * interpolated_lambdas(position)
    y_bits, z_bits, error = model(pictures, position)
    losses = [(y_bits + z_bits + weight * error[0]).mean()]
    for rounds in (0, 3):
        sent = Encoding(model, pictures, rounds).sent(pictures, position)
        made = model.synthesis(sent.latents).clamp(-0.5, 0.5)
        losses.append((sent.bits + weight * (made - (pictures - 0.5)).square().mean((1, 2, 3))).mean())
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(("halves", "mixed"), [(1, 0), (2, 0), (2, 5), (3, 0)])
def test_a_stage_sees_the_symbols_of_those_before_it(halves: int, mixed: int) -> None:
    model = small_codec(stages=(4, 4, 8), halves=halves, mixed_width=mixed).eval()
    prior, z, offset = model.hyperprior, torch.randn(1, 4, 2, 2).round(), torch.full((1, 16), 16.0)
    for context in (*prior.contexts, *prior.half_contexts):
        torch.nn.init.normal_(context.out.weight)
    symbols = torch.randint(-9, 9, (1, 16, 8, 8)).float()
    half = anchor_positions(symbols)
    assert half[3, 3]
    with torch.no_grad():
        classes = prior.scale_class(z, offset, symbols)
        for i, own in enumerate(prior.channels()):
            for place in ((3, 3), (3, 4)):  # of the first half and of the second
                other = symbols.clone()
                other[:, own.start + 1, *place] = 200
                moved = (prior.scale_class(z, offset, other) != classes)[0]
                assert not moved[: own.start].any()
                assert not moved[own][:, half].any()
                assert moved[own].any() == (i < halves and place == (3, 3))
                assert own.stop == 16 or moved[own.stop :, *place].any()
                assert not moved[:, 0, 0].any()
    assert torch.equal(classes * 1024, (classes * 1024).round())  # integers, as in the decoder


def test_classes_mix_what_hyperlatents_and_symbols_say() -> None:
    prior = small_codec(stages=(4, 12), mixed_width=5).eval().hyperprior
    torch.nn.init.normal_(prior.contexts[0].out.weight)
    seen, below = torch.rand(1, 4, 8, 8).mul(64).round() / 16, torch.rand(1, 4, 4, 4).mul(64).round() / 16
    with torch.no_grad():
        added = prior.contexts[0](seen, below)
        apart = prior.contexts[0](seen, 0 * below) + prior.contexts[0](0 * seen, below)
        assert (added != apart - prior.contexts[0](0 * seen, 0 * below)).any()
        other = below.clone()
        other[:, :, 1, 2] += 1
        moved = (prior.contexts[0](seen, other) != added).any(1)[0].nonzero().tolist()
    assert set(map(tuple, moved)) <= {(2, 4), (2, 5), (3, 4), (3, 5)}
    assert moved


def test_means_of_the_second_half_follow_from_the_symbols_beside() -> None:
    prior = small_codec(stages=(4, 12), halves=2).eval().hyperprior
    torch.nn.init.normal_(prior.half_means[1].out.weight)
    symbols, gain = torch.randint(-9, 9, (1, 12, 8, 8)).float(), torch.rand(1, 12, 1, 1) + 0.5
    half = anchor_positions(symbols)
    with torch.no_grad():
        added = prior.half_mean_of(1, symbols, gain)
        assert not added[..., half].any()
        assert torch.equal(added, prior.half_mean_of(1, symbols * half, gain))
        other = symbols.clone()
        other[:, 2, 3, 3] += 5
        moved = (prior.half_mean_of(1, other, gain) != added).any(1)[0]
    places = {(y, x) for y, x in moved.nonzero().tolist()}
    assert places == {(2, 3), (4, 3), (3, 2), (3, 4)}


def test_means_after_the_first_stage_follow_from_its_symbols() -> None:
    model = Codec(TINY).eval()
    prior, first, end = model.hyperprior, TINY.stages[0], TINY.stages[0] + TINY.predicted
    assert prior.prediction is not None
    torch.nn.init.normal_(prior.prediction.weight)
    torch.nn.init.normal_(prior.half_means[0].out.weight)
    y, mean = 3 * torch.randn(1, TINY.latents, 8, 8), torch.zeros(1, TINY.latents, 8, 8)
    gain = torch.full((1, TINY.latents, 1, 1), 2.0)
    with torch.no_grad():
        symbols = model._rounded(y, mean, gain)
        means = prior.means(mean, symbols, gain)
        changed = symbols.clone()
        changed[0, first - 1, 4, 4] += 1
        moved = prior.means(mean, changed, gain) != means
    assert ((y - means) * gain - symbols).abs().max() <= 0.5 + 1e-4
    where = moved[0, first:end].any(0).nonzero().tolist()
    assert where == [[row, column] for row in (3, 4, 5) for column in (3, 4, 5)]
    assert not moved[0, end:].any()
    with pytest.raises(ValueError, match="predicted is 57; the first stage has 8 latents"):
        replace(TINY, predicted=57)


def test_means_follow_from_the_stages_before() -> None:
    model = small_codec(stages=(4, 4, 8), halves=2, predicted=12, predicting=8).eval()
    prior = model.hyperprior
    assert prior.prediction is not None
    torch.nn.init.normal_(prior.prediction.weight)
    for near in prior.half_means:
        torch.nn.init.normal_(near.out.weight)
    y, mean, gain = 3 * torch.randn(1, 16, 8, 8), torch.zeros(1, 16, 8, 8), torch.full((1, 16, 1, 1), 2.0)
    with torch.no_grad():
        symbols = model._rounded(y, mean, gain)
        means = prior.means(mean, symbols, gain)
        assert ((y - means) * gain - symbols).abs().max() <= 0.5 + 1e-4  # all parts are settled
        for channel, own in ((1, slice(0, 4)), (5, slice(4, 8))):
            other = symbols.clone()
            other[0, channel, 3, 3] += 4
            moved = (prior.means(mean, other, gain) != means)[0]
            assert not moved[: own.start].any()
            assert moved[own].any(0).nonzero().tolist() == [[2, 3], [3, 2], [3, 4], [4, 3]]
            where = moved[own.stop :].any(0).nonzero().tolist()
            assert where == [[row, column] for row in (2, 3, 4) for column in (2, 3, 4)]
        for stage, channels in enumerate(prior.channels()[1:], 1):  # as an encoder asks for them
            known = slice(0, min(channels.start, 8))
            single = prior.predicted(symbols[:, known], gain[:, known], stage)
            every = prior.predicted(symbols[:, :8], gain[:, :8])
            assert torch.allclose(single, every[:, channels.start - 4 : channels.stop - 4], atol=1e-5)
    with pytest.raises(ValueError, match="halves is 4; there are 3 stages"):
        replace(model.config, halves=4)
    with pytest.raises(ValueError, match="predicting is 17; there are 16 latents"):
        replace(model.config, predicting=17)


def test_a_refined_prior_begins_as_the_one_it_refines() -> None:
    torch.manual_seed(3)
    old = small_codec(stages=(4, 12), predicted=6).eval()
    prior = old.hyperprior
    with torch.no_grad():
        for parameter in (*prior.contexts.parameters(), *prior.half_contexts.parameters()):
            parameter.normal_(std=0.3)
        for parameter in prior.half_means.parameters():
            parameter.normal_(std=0.3)
        prior.prediction.weight.normal_(std=0.3)  # type: ignore[union-attr]
    finer = replace(old.config, stages=(4, 4, 8), halves=2, context_width=11, mixed_width=13)
    finer = replace(finer, predicted=12, predicting=8)
    new = refined(old, finer)
    assert new.config == finer
    symbols, z = torch.randint(-9, 9, (2, 16, 8, 8)).float(), torch.randn(2, 4, 2, 2).mul(16).round() / 16
    gain, offset = torch.rand(2, 16, 1, 1) + 0.5, torch.full((2, 16), 16.0)
    with torch.no_grad():
        classes = prior.scale_class(z, offset, symbols)
        assert torch.equal(new.hyperprior.scale_class(z, offset, symbols), classes)
        assert torch.equal(new.hyperprior.means(symbols, symbols, gain), prior.means(symbols, symbols, gain))
    for stages in ((8, 8), (2, 2, 12)):
        with pytest.raises(ValueError, match="do not part"):
            refined(old, replace(finer, stages=stages, predicted=0))
    with pytest.raises(ValueError, match="only the prior"):
        refined(old, replace(finer, render_layers=old.config.render_layers + 1, render_hidden=5))
    with pytest.raises(ValueError, match="cannot be refined again"):
        refined(new, finer)


def test_stages_must_add_up() -> None:
    with pytest.raises(ValueError, match="do not add up to 16 latents"):
        small_codec(stages=(4, 8))


def test_the_optimizer_moves_coefficients_in_their_own_coordinates() -> None:
    basis = torch.randn(3, 3)
    for coordinates in (Whitened(basis), Scaled(torch.rand(3, 1, 1) + 0.5)):
        weight = torch.nn.Parameter(torch.randn(2, 3, 2, 2))
        coefficients = torch.nn.Parameter(torch.zeros(2, 3, 2, 2))
        fixed, wanted = weight.detach().clone(), torch.randn(2, 3, 2, 2)
        ours = MuonAdam([{"params": [weight]}], 0.01, {weight: coordinates})
        theirs = torch.optim.Adam([coefficients], 0.01, betas=(0.9, 0.99))
        for _ in range(4):
            for optimizer, value in ((ours, weight), (theirs, fixed + coordinates.change(coefficients))):
                optimizer.zero_grad()
                ((value - wanted) ** 2).sum().backward()
                optimizer.step()
        torch.testing.assert_close(weight, fixed + coordinates.change(coefficients))


def test_the_branches_begin_with_inputs_of_equal_deviations(folder: Path) -> None:
    packed = folder.parent / "whitened.safetensors"
    photos.pack(folder, packed)
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


def test_without_muon_the_optimizer_is_adam() -> None:
    start = torch.randn(6, 5)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = MuonAdam([{"params": [ours]}], 0.01), torch.optim.Adam([theirs], 0.01, betas=(0.9, 0.99))
    for _ in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = torch.cos(parameter.detach() * 3)
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (12, 12)])
def test_muon_steps_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_unusual_gradients_are_cut_and_those_without_sense_skipped() -> None:
    weight, clip = torch.nn.Parameter(torch.zeros(4)), Clip(most=10, unusual=2)

    def norm_after(value: float) -> float:
        weight.grad = torch.tensor([value, 0.0, 0.0, 0.0])
        assert clip([weight])
        return float(weight.grad.norm())

    assert norm_after(30) == pytest.approx(10)
    for _ in range(400):
        assert norm_after(1) == pytest.approx(1)
    assert norm_after(100) == pytest.approx(2, rel=0.1)
    assert clip.take_cut() == 2
    weight.grad = torch.tensor([torch.nan, 0.0, 0.0, 0.0])
    assert not clip([weight])
    assert (clip.usual, clip.take_cut()) == (pytest.approx(1, rel=0.1), 0)


def test_optimizer_state_is_kept_by_the_parameters_names(tmp_path: Path) -> None:
    model = small_codec()
    options = CodecOptions(steps=1)
    optimizer = MuonAdam(_groups(model, options), 1e-3)
    loss = sum((p.square().sum() for p in model.parameters()), torch.zeros(()))
    loss.backward()
    optimizer.step()
    checkpoints.save(tmp_path, Checkpoint("codec", model.config, model), optimizer)
    again = MuonAdam(_groups(model, options), 1e-3)
    assert checkpoints.load_optimizer(tmp_path, model, again)
    for parameter in model.parameters():
        for name, value in optimizer.state[parameter].items():
            assert torch.equal(again.state[parameter][name], value)


def test_a_compact_checkpoint_is_nearly_the_same_codec(tmp_path: Path) -> None:
    model = small_codec(latents=64, stages=(16, 48)).eval()
    checkpoints.save(tmp_path / "whole", Checkpoint("codec", model.config, model))
    command = ["compact", str(tmp_path / "whole"), "--out", str(tmp_path / "compact")]
    assert CliRunner().invoke(train, command).exit_code == 0
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("compact", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    found = checkpoints.load(tmp_path / "compact").model
    assert isinstance(found, Codec)
    assert torch.equal(found.analysis.linear.weight, model.analysis.linear.weight.half().float())
    assert torch.allclose(found.analysis.out.weight, model.analysis.out.weight, atol=1e-3)
    for whole in ("class_hidden", "contexts.0.hidden", "contexts.0.out", "half_contexts.0.out"):
        kept, weight = (m.hyperprior.get_submodule(whole).weight for m in (found, model))
        assert torch.equal(kept, (weight * 64).round().clamp(-127, 127) / 64)  # as decoders have them
    first, second = (m.state_dict()["hyperprior.analysis.0.weight"] for m in (found, model))
    assert 0 < (first - second).abs().max() < 0.01 * second.abs().max()
    # Kept again beside itself, nothing is its own.
    again = [*command[:3], str(tmp_path / "again"), "--of", str(tmp_path / "compact")]
    assert CliRunner().invoke(train, again).exit_code == 0
    assert load_file(tmp_path / "again" / "weights.safetensors") == {}
    # A synthesis that the other has beside its own is not kept twice.
    both = Codec(replace(model.config, beside=("nano",))).eval()
    checkpoints.save(tmp_path / "both", Checkpoint("codec", both.config, both))
    single = part(both, "nano")
    with torch.no_grad():
        single.log_gain[0, 0] = 0.5
    checkpoints.save(tmp_path / "single", Checkpoint("codec", single.config, single))
    of = ["--of", str(tmp_path / "both")]
    lent = ["compact", str(tmp_path / "single"), "--out", str(tmp_path / "lent"), *of]
    assert CliRunner().invoke(train, lent).exit_code == 0
    assert list(load_file(tmp_path / "lent" / "weights.safetensors")) == ["log_gain"]
    for name, value in checkpoints.load(tmp_path / "lent").model.state_dict().items():
        assert torch.equal(value, single.state_dict()[name]), name
