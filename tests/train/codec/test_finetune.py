"""Fine-tuning of syntheses and entropy models."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from decant_train.cli import train
from decant_train.codec import finetune as codec_finetune
from decant_train.codec import recipe as recipes
from decant_train.codec.distortion import Measure, distortion
from decant_train.codec.encoder import Encoding
from decant_train.codec.finetune import FinetuneOptions, finetune
from decant_train.codec.finetune_parts import SynthesisPart
from decant_train.codec.model import Codec, part
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.data import photos
from small_codecs import TINY, TWO, started_codec, with_validation

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("few_probes", "few_crops")
def test_syntheses_are_finetuned_on_what_the_encoder_sends(photo_folder: Path, tmp_path: Path) -> None:
    """Those asked for are mended, and nothing else moves."""
    photos.pack(photo_folder, tmp_path / "packed.safetensors")
    seen = photos.load([tmp_path / "packed.safetensors"], 128, validation=False)
    model = started_codec(seen, replace(TINY, beside=("nano", "full")))
    with torch.no_grad():
        for synthesis in model.syntheses().values():
            synthesis.last.weight += 0.02 * torch.randn_like(synthesis.last.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = FinetuneOptions(steps=160, crop=128, batch_size=2, reuse=20, linear_rate=0.1, log_every=40)
    start = Checkpoint("codec", model.config, model)
    finetune(start, seen, seen, tmp_path / "out", options, parts=("", "nano"), progress=False)
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
def test_the_entropy_model_is_finetuned_on_the_symbols_that_are_sent(
    photo_folder: Path, tmp_path: Path
) -> None:
    """They take fewer bits then; only the networks that symbols go into move."""
    photos.pack(photo_folder, tmp_path / "packed.safetensors")
    seen = photos.load([tmp_path / "packed.safetensors"], 128, validation=False)
    model = started_codec(seen, replace(TINY, beside=("nano",)))
    pictures, rate_point = seen.crops(8, 128, torch.Generator().manual_seed(3)), torch.full((8,), 2.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bits = [float(Encoding(model, pictures).sent(pictures, rate_point).bits.mean())]
    options = FinetuneOptions(
        steps=120, crop=128, batch_size=2, prior_reuse=20, prior_rate=5e-3, log_every=40
    )
    start = Checkpoint("codec", model.config, model)
    finetune(start, seen, seen, tmp_path / "out", options, parts=("prior",), progress=False)
    kept = checkpoints.load(tmp_path / "out")
    assert isinstance(kept.model, Codec)
    bits.append(float(Encoding(kept.model, pictures).sent(pictures, rate_point).bits.mean()))
    assert bits[1] < 0.98 * bits[0]
    assert kept.metrics["prior_finished_score"] < kept.metrics["prior_begun_score"]
    moved = {name for name, value in kept.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved} == {
        "class_hidden", "class_out", "contexts", "half_contexts", "half_means", "prediction",
    }  # fmt: skip
    assert {name.split(".")[0] for name in moved} == {"hyperprior"}


@pytest.mark.usefixtures("few_probes", "few_crops")
def test_the_command_gives_a_size_an_entropy_model_of_its_own(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with the weights of the size; only its prior moves, means of hyperlatents too when asked."""
    source = with_validation(photo_folder, tmp_path / "in")
    model = started_codec(
        photos.load([photos.packed(source, tmp_path / "p.safetensors")], 128, validation=False), TWO
    )
    checkpoints.save(tmp_path / "shared", Checkpoint("codec", model.config, model))
    finer = {
        "channel_groups": (8, 8, 16, 32),
        "checkerboard_groups": 2,
        "context_width": 50,
        "mixed_width": 52,
    }
    monkeypatch.setattr(recipes, "OWN_PRIOR", finer | {"predicted_channels": 56, "prediction_inputs": 16})
    monkeypatch.setattr(codec_finetune, "VALIDATION_CROPS", 2)
    command = ["finetune", str(tmp_path / "shared"), "--images", str(source), "--out", str(tmp_path / "own")]
    command += ["--steps", "4", "--batch-size", "2", "--crop", "128", "--quiet", "--part", "prior"]
    result = CliRunner().invoke(train, [*command, "--own-prior", "nano", "--mean-rate", "0.1"])
    assert result.exit_code == 0, result.output
    own, before = checkpoints.load(tmp_path / "own").model, part(model, "nano").state_dict()
    assert isinstance(own, Codec)
    assert (own.config.beside, own.config.checkerboard_groups, own.config.prediction_inputs) == ((), 2, 16)
    for name, value in own.state_dict().items():
        if name.startswith(("analysis", "synthesis", "hyperprior.analysis", "log_")):
            assert torch.equal(value, before[name]), name
    rows = [json.loads(line) for line in (tmp_path / "own" / "finish.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 4]
    result = CliRunner().invoke(train, [*command, "--own-prior", "huge"])
    assert result.exit_code == 1
    assert "no synthesis 'huge'" in result.output


def test_a_synthesis_is_finetuned_for_the_distortion_of_its_codec(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Codec(replace(TINY, ms_ssim=0.8)).eval()
    torch.nn.init.normal_(model.synthesis.last.weight, std=0.05)
    latents, pictures = torch.randn(2, TINY.latents, 12, 12), torch.rand(2, 3, 192, 192)
    options = FinetuneOptions(steps=1)
    with torch.no_grad():
        encoding = Encoding(model, pictures, 0)
        loss = SynthesisPart(model, 1e-3, 0.01, 1).loss(encoding, latents, pictures, torch.tensor([1.0, 3.0]))
        found = distortion(model.synthesis(latents), pictures, Measure(0.8))
    assert float(loss) == pytest.approx(255**2 * float((found * torch.tensor([1.0, 3.0])).mean()), rel=0.02)
    start, seen = (
        Checkpoint("codec", model.config, model),
        photos.Photos([np.zeros((256, 256, 3), np.uint8)], ["a"]),
    )
    with pytest.raises(ValueError, match="needs crops of 192 pixels"):
        finetune(start, seen, seen, tmp_path, replace(options, crop=128), progress=False)
