"""A bundle from a checkpoint: complete, checked, the same each time, and whole or not there."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints_made import COUNT, SIDE, photos
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle
from decant.errors import BundleError
from decant.formats.manifest import canonical_json
from decant_export import ExportError, export
from decant_export.common import folder
from decant_export.common.gate import psnr_db
from decant_train.common import checkpoint as checkpoints
from PIL import Image

ONNXRUNTIME = {"runtimes": ("onnxruntime",), "precisions": ("float", "int8")}


def content(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


def golden_pixels(bundle: Bundle, i: int = 0) -> np.ndarray:
    return np.asarray(Image.open(bundle.path / f"golden/{i:03}.png"))


def changed(checkpoint: Path, to: Path, change: Any) -> Path:
    """A copy of a checkpoint whose network went through ``change``."""
    shutil.copytree(checkpoint, to)
    loaded = checkpoints.load(to)
    with torch.no_grad():
        change(loaded.model)
    checkpoints.save(to, loaded)
    return to


def test_every_form_is_there_and_verifies(bundle: Bundle) -> None:
    forms = {(graph.role, graph.precision, graph.runtime) for graph in bundle.graphs}
    both = ("onnxruntime", "openvino")
    assert forms == {
        *(("synthesis", p, r) for p in ("float", "int8", "int8-static") for r in both),
        ("synthesis", "int4", "onnxruntime"),
        *((role, "float", r) for role in ("analysis", "denoiser") for r in both),
    }
    assert bundle.manifest.raw["refused"] == []
    bundle.verify()
    assert bundle.image == (SIDE, SIDE)
    assert bundle.model_id == hashlib.sha256(canonical_json(bundle.model)).hexdigest()
    assert set(bundle.model["synthesis"]) >= {"decoder.linear.weight", "decoder.last.bias"}


def test_every_graph_decodes_the_golden_files_as_its_figure_says(bundle: Bundle) -> None:
    latents = [bundle.path / golden.file for golden in bundle.golden]
    expected = np.stack([golden_pixels(bundle, i) for i in range(4)])
    for graph in bundle.graphs:
        if graph.role != "synthesis":
            continue
        decoder = Decoder(bundle, precision=graph.precision, runtime=graph.runtime, check_golden="always")
        pixels = np.stack([decoder.decode(path.read_bytes()) for path in latents])
        psnr = psnr_db(pixels, expected)
        assert psnr >= graph.lowest_psnr_db
        if graph.psnr_to_float_db is None:
            np.testing.assert_array_equal(pixels, expected)
        else:
            assert psnr == pytest.approx(graph.psnr_to_float_db, abs=0.01)
        if graph.precision == "float":
            assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_decoding_a_batch_of_dynamic_int8_equals_single_decodes(bundle: Bundle) -> None:
    encoder, decoder = Encoder(bundle), Decoder(bundle, precision="int8", runtime="onnxruntime", threads=2)
    files = [encoder.encode(image) for image in photos()]
    for single, together in zip(map(decoder.decode, files), decoder.decode_batch(files), strict=True):
        np.testing.assert_array_equal(single, together)


def test_the_encoder_gives_the_latents_that_were_trained(bundle: Bundle, checkpoint: Path) -> None:
    latents = checkpoints.load(checkpoint).model.latents.detach().numpy()
    encoder = Encoder(bundle)
    decoder = Decoder(bundle, precision="float", runtime="onnxruntime")
    for image, latent in zip(photos(), latents, strict=True):
        pixels = decoder.decode(encoder.encode(image)).astype(int)
        assert np.abs(pixels - decoder.decode_latents(latent[None])[0]).max() <= 3  # float16 in the file


def test_the_denoiser_is_the_checkpoints(bundle: Bundle, denoiser: Path) -> None:
    decoder = Decoder(bundle, precision="float", runtime="onnxruntime", denoise=True)
    pixels = decoder.decode((bundle.path / "golden/000.dcn").read_bytes())
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(bundle.path / "golden/000.denoised.png")))
    picture = torch.from_numpy(golden_pixels(bundle).copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = checkpoints.load(denoiser).model(picture)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(pixels - expected).max() < 0.51


def test_the_same_checkpoint_gives_the_same_bytes(bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"precisions": ("int8-static", "int8"), "latent_coding": "uint7"}
    export(checkpoint, tmp_path / "a" / "tiny", **options)
    export(checkpoint, tmp_path / "b" / "tiny", **options)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    again, shared = content(tmp_path / "a" / "tiny"), content(bundle.path)
    for path in ("synthesis.int8.onnx", "synthesis.int8.xml", "synthesis.int8.bin"):
        assert again[path] == shared[path]


def test_a_variant_below_its_floor_is_listed_and_not_written(checkpoint: Path, tmp_path: Path) -> None:
    said: list[str] = []
    bundle = export(
        checkpoint,
        tmp_path / "tiny",
        floors={"int8": 200.0, "int4": 200.0},
        encoder=False,
        report=said.append,
    )
    refused = bundle.manifest.raw["refused"]
    assert {(r["precision"], r["runtime"]) for r in refused} == {
        ("int8", "onnxruntime"),
        ("int8", "openvino"),
        ("int4", "onnxruntime"),
    }
    for entry in refused:
        assert 30 < entry["psnr_to_float_db"] < 70
        assert entry["floor_db"] == 200.0
        assert "below its floor of 200.0 dB" in entry["reason"]
        assert any(entry["reason"] in line and "not written" in line for line in said)
    assert not list(bundle.path.glob("synthesis.int8.*"))
    bundle.verify()


def test_nothing_is_written_when_no_graph_passes(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no graph is left: .*below its floor"):
        export(
            checkpoint,
            tmp_path / "tiny",
            precisions=("int8",),
            runtimes=("onnxruntime",),
            floors={"int8": 99.0},
        )
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_only_bundle(checkpoint: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, tmp_path / "tiny", encoder=False, **ONNXRUNTIME)
    assert {graph.role for graph in bundle.graphs} == {"synthesis"}
    with pytest.raises(BundleError, match="cannot encode: it has a decoder only"):
        Encoder(bundle)


@pytest.mark.parametrize(
    ("coding", "payload"), [("float16", 12), ("float32", 24), ("uint8", 6), ("uint5", 4), ("uint16", 12)]
)
def test_latent_codings(checkpoint: Path, tmp_path: Path, coding: str, payload: int) -> None:
    bundle = export(
        checkpoint, tmp_path / "tiny", latent_coding=coding, precisions=("float",), runtimes=("onnxruntime",)
    )
    assert bundle.layout.payload_bytes == payload
    assert (bundle.path / "tables.safetensors").exists() == coding.startswith("uint")
    Decoder(bundle, check_golden="always")
    latents = checkpoints.load(checkpoint).model.latents.detach().numpy()
    error = np.abs(
        np.stack([bundle.layout.unpack(bundle.layout.pack(latent)) for latent in latents]) - latents
    )
    steps = {"float16": 2**-10, "float32": 0, "uint8": 1 / 255, "uint5": 1 / 31, "uint16": 1 / 65535}
    reach = np.ptp(latents, axis=0) if coding.startswith("uint") else np.abs(latents).max(axis=0)
    assert (error <= 0.51 * steps[coding] * reach + 1e-6).all()


def test_codings_share_weights_and_differ_in_model_id(checkpoint: Path, tmp_path: Path) -> None:
    bundles = [
        export(checkpoint, tmp_path / coding, latent_coding=coding, encoder=False, **ONNXRUNTIME)
        for coding in ("float16", "uint8")
    ]
    assert bundles[0].model["synthesis"] == bundles[1].model["synthesis"]
    assert bundles[0].model_id != bundles[1].model_id


def test_what_is_there_is_replaced_on_request_only(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    export(checkpoint, out, encoder=False, **ONNXRUNTIME)
    (out / "left-over").write_text("from before")
    with pytest.raises(ExportError, match="exists already; give --force"):
        export(checkpoint, out, encoder=False, **ONNXRUNTIME)
    export(checkpoint, out, encoder=False, force=True, **ONNXRUNTIME)
    assert not (out / "left-over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_folder_that_is_no_bundle_is_never_replaced(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="no bundle; remove it"):
        export(checkpoint, tmp_path, force=True, name="tiny")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_failure_halfway_leaves_the_old_bundle(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    out.mkdir()
    (out / "bundle.json").write_text("old")

    def half() -> None:
        with folder.appearing(out) as building:
            (building / "bundle.json").write_text("new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half()
    assert (out / "bundle.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_checkpoint_without_latents_takes_them_from_images(checkpoint: Path, tmp_path: Path) -> None:
    bare = changed(checkpoint, tmp_path / "bare", lambda model: model.latents.zero_())
    with pytest.raises(ExportError, match="holds no latents of its set; give images"):
        export(bare, tmp_path / "tiny", **ONNXRUNTIME)
    bundle = export(bare, tmp_path / "tiny", images=photos(), golden=2, **ONNXRUNTIME)
    assert len(bundle.golden) == 2
    encoded = Encoder(bundle).encode(photos()[0])
    np.testing.assert_allclose(
        Decoder(bundle, precision="float").decode(encoded).astype(int), golden_pixels(bundle), atol=1
    )


def test_a_checkpoint_that_cannot_decode_is_refused(checkpoint: Path, denoiser: Path, tmp_path: Path) -> None:
    broken = changed(checkpoint, tmp_path / "nan", lambda model: model.decoder.last.bias.fill_(float("nan")))
    with pytest.raises(ExportError, match="differs from PyTorch by nan"):
        export(broken, tmp_path / "out")
    with pytest.raises(ExportError, match="family denoiser is not a decoder"):
        export(denoiser, tmp_path / "out")
    with pytest.raises(ExportError, match="family set is not a denoiser"):
        export(checkpoint, tmp_path / "out", denoiser=checkpoint, **ONNXRUNTIME)
    with pytest.raises(ExportError, match="is not a checkpoint"):
        export(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Größe"}, "bundle name 'Größe'"),
        ({"precisions": ()}, "no precision given"),
        ({"precisions": ("int3",)}, "precision 'int3' is unknown"),
        ({"runtimes": ("tflite",)}, "runtime 'tflite' is unknown"),
        ({"latent_coding": "uint17"}, "latent coding 'uint17'"),
        ({"latent_coding": "bfloat16"}, "latent coding 'bfloat16'"),
    ],
)
def test_wrong_options_say_what_is_expected(
    checkpoint: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export(checkpoint, tmp_path / "tiny", **options)
    assert not (tmp_path / "tiny").exists()


def test_the_manifest_says_where_it_comes_from_and_no_private_paths(bundle: Bundle, checkpoint: Path) -> None:
    raw = bundle.manifest.raw
    assert raw["data"] == f"{COUNT} images: photos in the wheels of scikit-image and scikit-learn"
    assert raw["training"]["epochs"] == 20
    assert raw["training"]["config"]["latent_dim"] == 6
    assert "terms" in raw["licence"]
    assert str(checkpoint.parent) not in json.dumps(raw)
