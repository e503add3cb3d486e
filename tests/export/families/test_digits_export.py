"""Digits from checkpoint to file: every graph gives what PyTorch gives, and the lean runtime decodes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints_made import run
from click.testing import CliRunner
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant.formats import container
from decant_export import ExportError, export
from decant_export.common import family as families
from decant_export.common.gate import psnr_db
from decant_export.common.pictures import PICTURE
from decant_export.families.digits.float_graphs import as_phases
from decant_train.common import checkpoint as checkpoints
from decant_train.common import loop
from decant_train.data import wheel_digits
from decant_train.published.digits import recipe as recipes_digits
from decant_train.published.digits.denoiser import DigitDenoiser, DigitsDenoiserConfig
from decant_train.published.digits.model import doubled

BITS = 6


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_digits.write(tmp_path_factory.mktemp("digits"), 400)


@pytest.fixture(scope="module")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    options = loop.Options(epochs=5, batch_size=32, learning_rate=3e-3, precision="float32")
    recipes_digits.train_digits("default", out, options, images=digits, progress=False)
    return out


@pytest.fixture(scope="module")
def mending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoiser whose correction is not zero, as it would be before its first step."""
    out = tmp_path_factory.mktemp("runs") / "denoiser"
    torch.manual_seed(5)
    model = DigitDenoiser(DigitsDenoiserConfig())
    torch.nn.init.normal_(model.up2.weight, 0, 0.1)
    checkpoints.save(out, checkpoints.Checkpoint("digits_denoiser", model.config, model))
    return out


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Digits that nothing was trained on, as RGB: uint8 (64, 28, 28, 3)."""
    return wheel_digits.pictures()[0][-64:, ..., None].repeat(3, axis=3)


@pytest.fixture(scope="module")
def digit_bundle(
    trained: Path, mending: Path, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    out = tmp_path_factory.mktemp("bundles") / "digits"
    return export(trained, out, denoiser=mending, images=pictures, latent_coding=f"uint{BITS}")


def test_every_form_is_there(digit_bundle: Bundle) -> None:
    forms = {(graph.role, graph.precision, graph.runtime) for graph in digit_bundle.graphs}
    both = ("onnxruntime", "openvino")
    assert forms >= {
        *(("synthesis", p, r) for p in ("float", "int8", "int8-static") for r in both),
        *((role, "float", r) for role in ("analysis", "denoiser") for r in both),
    }
    assert digit_bundle.model["latent"] == {"layout": "vector", "dim": 28, "coding": "uint", "bits": BITS}
    digit_bundle.verify()


def test_a_file_holds_28_numbers_and_decodes_as_pytorch_does(
    digit_bundle: Bundle, trained: Path, pictures: np.ndarray
) -> None:
    encoder, decoder = Encoder(digit_bundle), Decoder(digit_bundle, precision="float")
    model = checkpoints.load(trained).model
    expected = recipes_digits.decoded(model, pictures[..., 0], BITS)  # type: ignore[arg-type]
    for picture, grey in zip(pictures[:8], expected, strict=False):
        data = encoder.encode(picture)
        assert len(container.parse(data).latents) == 28 * BITS // 8
        found = decoder.decode(data)
        assert (found == found[..., :1]).all()
        assert np.abs(found[..., 0].astype(int) - grey).max() <= 1


def test_the_denoiser_runs_after_the_decoder(
    digit_bundle: Bundle, mending: Path, pictures: np.ndarray
) -> None:
    data = Encoder(digit_bundle).encode(pictures[0])
    plain, mended = (Decoder(digit_bundle, precision="float", denoise=d).decode(data) for d in (False, True))
    expected = families.denoiser_of(checkpoints.load(mending)).denoise(plain[None])[0].transpose(1, 2, 0)
    assert not np.array_equal(plain, mended)
    assert np.abs(mended / 255 - expected).max() <= 0.5 / 255 + 1e-5


@pytest.mark.parametrize("precision", ["int8", "int8-static"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_int8_is_close_to_float(
    digit_bundle: Bundle, pictures: np.ndarray, precision: str, runtime: str
) -> None:
    files = [Encoder(digit_bundle).encode(picture) for picture in pictures[:16]]
    decoders = (
        Decoder(digit_bundle, precision="float"),
        Decoder(digit_bundle, precision=precision, runtime=runtime),
    )
    plain, small = (np.stack([decoder.decode(data) for data in files]) for decoder in decoders)
    assert psnr_db(small, plain) > 40


def test_colour_counts_by_its_luma(trained: Path) -> None:
    graphs = families.family_of(checkpoints.load(trained))
    colour = wheel_digits.pictures()[0][:2, ..., None].repeat(3, axis=3).copy()
    colour[..., 0] = 0
    grey = colour[..., 1:2] * np.float32(0.587 + 0.114)
    latents = run(graphs.analysis(), colour)
    np.testing.assert_allclose(latents, graphs.encode(colour), atol=1e-5)
    dark = np.rint(grey).astype(np.uint8).repeat(3, axis=3)
    np.testing.assert_allclose(latents, graphs.encode(dark), atol=2e-2)


def test_the_graph_before_rounding_is_pytorchs(trained: Path) -> None:
    graphs = families.family_of(checkpoints.load(trained))
    latents = np.random.default_rng(0).random((3, 28), np.float32)
    np.testing.assert_allclose(run(graphs.synthesis(), latents, PICTURE), graphs.decode(latents), atol=1e-5)


def test_the_2x2_form_has_the_taps_of_the_3x3_one() -> None:
    torch.manual_seed(2)
    conv, x = torch.nn.Conv2d(3, 2, 3, padding=1), torch.randn(1, 3, 5, 5)
    kernel, bias = (torch.from_numpy(v) for v in as_phases(conv))
    whole = torch.pixel_shuffle(torch.nn.functional.conv2d(x, kernel, bias, padding=1), 2)
    torch.testing.assert_close(whole[..., 1:-1, 1:-1], doubled(conv, x), atol=1e-5, rtol=1e-5)


def test_the_command_takes_the_folder_of_idx_files(trained: Path, digits: Path, tmp_path: Path) -> None:
    narrow = ["--precisions", "float", "--runtimes", "onnxruntime", "--latent-coding", "uint4", "--json"]
    command = ["export", str(trained), "--out", str(tmp_path / "b"), "--images", str(digits), *narrow]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["family"] == "digits"
    assert Bundle.open(tmp_path / "b").layout.payload_bytes == 14
    failed = CliRunner().invoke(main, [*command[:4], "--images", str(tmp_path)])
    assert failed.exit_code == 1


def test_a_denoiser_for_other_sizes_is_refused(mending: Path) -> None:
    with pytest.raises(ExportError, match="28x28"):
        families.denoiser_of(checkpoints.load(mending)).denoiser((64, 64))
