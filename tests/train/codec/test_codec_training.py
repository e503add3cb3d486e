"""The codec's trainer and its command: it trains, resumes, and keeps what it is told to keep."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from decant_train.cli import train
from decant_train.codec.config import RATE_POINTS, CodecConfig
from decant_train.codec.curriculum import curriculum_range, rate_points, share_gradients
from decant_train.codec.finetune import FinetuneOptions
from decant_train.codec.model import FAMILY, Codec, part
from decant_train.codec.options import CodecOptions
from decant_train.codec.parameter_groups import parameter_groups
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.common.optimizers import MuonAdam
from safetensors.torch import load_file
from small_codecs import TINY, small_codec, with_validation


@pytest.mark.usefixtures("few_probes", "few_crops")
def test_the_command_trains_and_resumes(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILY.sizes, "tiny", TINY)
    source = with_validation(photo_folder, tmp_path / "in")
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
    best = min(rows, key=lambda row: row["score"])
    kept = checkpoints.load(tmp_path / "out" / "best")
    assert (kept.step, kept.metrics["score"]) == (best["step"], best["score"])


@pytest.mark.usefixtures("few_probes", "few_crops")
def test_a_codec_retargeted_to_ms_ssim_keeps_the_encoder_of_its_warm_start(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILY.sizes, "tiny", TINY)
    source = with_validation(photo_folder, tmp_path / "in")
    command = ["codec", "tiny", "--images", str(source), "--batch-size", "2", "--steps", "4", "--quiet"]
    for out, more in (("plain", []), ("turned", ["--ms-ssim", "0.8", "--keep-encoder", "--warm-start"])):
        warm_start = [str(tmp_path / "plain")] if more else []
        result = CliRunner().invoke(train, [*command, "--out", str(tmp_path / out), *more, *warm_start])
        assert result.exit_code == 0, result.output
    result = CliRunner().invoke(train, [*command, "--out", str(tmp_path / "new"), "--keep-encoder"])
    assert result.exit_code == 1
    assert "start from a checkpoint" in result.output
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
        FinetuneOptions()
    with pytest.raises(ValueError, match="budget"):
        CodecOptions()
    with pytest.raises(ValueError, match="multiple of 64"):
        CodecOptions(steps=1, crop=100)
    with pytest.raises(ValueError, match=r"curriculum_start \+ curriculum_length"):
        CodecOptions(steps=1, curriculum_start=0.8, curriculum_length=0.3)


def test_the_curriculum_grows_from_the_middle_rate_point_to_all() -> None:
    options = CodecOptions(steps=1, curriculum_start=0.5, curriculum_length=0.25, curriculum_range=1.0)
    assert [curriculum_range(options, done) for done in (0, 0.49, 0.625, 0.75, 1)] == [0, 0, 0.5, 1, 1]
    assert curriculum_range(replace(options, curriculum_range=0.4), 0.625) == pytest.approx(0.2)
    assert [
        curriculum_range(replace(options, curriculum_start=0.0, curriculum_length=0.0), done)
        for done in (0, 1)
    ] == [1, 1]
    draw = torch.Generator().manual_seed(0)
    middle = (RATE_POINTS - 1) / 2
    assert rate_points(5, 0.0, draw).tolist() == 5 * [middle]
    anchors, full = (rate_points(4000, spread, draw) - middle for spread in (0.5, 1.0))
    assert 0.45 * middle < anchors.abs().max() <= 0.5 * middle
    assert 0.95 * middle < full.abs().max() <= middle
    assert float(full.mean()) == pytest.approx(0, abs=0.1)
    assert float((full.abs() > middle / 2).float().mean()) == pytest.approx(
        0.5, abs=0.03
    )  # as often as the middle


def test_rate_points_that_a_batch_lacks_follow_those_it_has() -> None:
    codec = small_codec()
    gradient = torch.zeros_like(codec.log_gain)
    gradient[3], gradient[4] = 1.0, 2.0
    codec.log_gain.grad = gradient.clone()
    share_gradients(codec, 0.25)
    assert torch.equal(codec.log_gain.grad, 0.25 * gradient + 0.75 * 3)
    assert codec.log_hyper_gain.grad is None


def test_optimizer_state_is_kept_by_the_parameters_names(tmp_path: Path) -> None:
    model = small_codec()
    options = CodecOptions(steps=1)
    optimizer = MuonAdam(parameter_groups(model, options), 1e-3)
    loss = sum((p.square().sum() for p in model.parameters()), torch.zeros(()))
    loss.backward()
    optimizer.step()
    checkpoints.save(tmp_path, Checkpoint("codec", model.config, model), optimizer)
    again = MuonAdam(parameter_groups(model, options), 1e-3)
    assert checkpoints.load_optimizer(tmp_path, model, again)
    for parameter in model.parameters():
        for name, value in optimizer.state[parameter].items():
            assert torch.equal(again.state[parameter][name], value)


def test_a_compact_checkpoint_is_nearly_the_same_codec(tmp_path: Path) -> None:
    model = small_codec(latents=64, channel_groups=(16, 48)).eval()
    checkpoints.save(tmp_path / "whole", Checkpoint("codec", model.config, model))
    command = ["compact", str(tmp_path / "whole"), "--out", str(tmp_path / "compact")]
    assert CliRunner().invoke(train, command).exit_code == 0
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("compact", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    found = checkpoints.load(tmp_path / "compact").model
    assert isinstance(found, Codec)
    assert torch.equal(found.analysis.linear.weight, model.analysis.linear.weight.half().float())
    assert torch.allclose(found.analysis.out.weight, model.analysis.out.weight, atol=1e-3)
    for whole in ("scale_hidden", "contexts.0.hidden", "contexts.0.out", "checkerboard_contexts.0.out"):
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


def test_files_keep_the_names_of_the_first_version(tmp_path: Path) -> None:
    """Tensors of weights and optimizer, and keys of the configuration; the attributes have other names."""
    model = small_codec(mixed_width=2, predicted_channels=6)
    optimizer = MuonAdam(parameter_groups(model, CodecOptions(steps=1)), 1e-3)
    sum((p.square().sum() for p in model.parameters()), torch.zeros(())).backward()
    optimizer.step()
    checkpoints.save(tmp_path, Checkpoint("codec", model.config, model), optimizer)
    serialized = {
        *("class_offset", "hyper_class", "hyperprior.class_hidden.weight", "hyperprior.class_out.weight"),
        *("hyperprior.half_contexts.0.out.weight", "hyperprior.half_means.0.hidden.bias"),
    }
    names = set(load_file(tmp_path / "weights.safetensors"))
    assert serialized <= names
    assert not any("scale_" in name or "checkerboard" in name for name in names)
    assert {f"{name}/exp_avg" for name in serialized} <= set(load_file(tmp_path / "optimizer.safetensors"))
    config = json.loads((tmp_path / "checkpoint.json").read_text())["config"]
    assert (config["stages"], config["halves"], config["class_width"]) == ([4, 12], 1, 4)
    assert (config["predicted"], config["predicting"]) == (6, 0)
    older = {
        name.replace("half_contexts.0", "half_context"): value for name, value in model.state_dict().items()
    }
    other = small_codec(mixed_width=2, predicted_channels=6)
    other.load_state_dict(older)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_help_states_the_defaults_of_the_options() -> None:
    for command, options in (("codec", CodecOptions(steps=1)), ("finetune", FinetuneOptions(steps=1))):
        values = vars(CodecConfig()) | vars(options)
        for parameter in train.commands[command].params:
            stated = re.search(r"default ([\d.]+)", getattr(parameter, "help", None) or "")
            if stated:
                assert float(stated[1].rstrip(".")) == float(values[parameter.name]), parameter.name
