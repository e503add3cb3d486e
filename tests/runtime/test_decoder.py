"""Decoding real pictures: right pixels, the same in batches, and refusals."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import bundles
import decant
import numpy as np
import pytest
from decant import Decoder, Encoder, FormatError, ModelNotFoundError, SizeLimitError
from decant.errors import BundleError, ImageError
from decant.formats import container
from decant.selection.golden import psnr_db
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

VARIANTS = [("onnxruntime", "float"), ("onnxruntime", "int8"), ("openvino", "float")]


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return bundles.crops(200)[:24]


@pytest.fixture(scope="session")
def files(tiny: Path, pictures: np.ndarray) -> list[bytes]:
    encoder = Encoder(str(tiny))
    return [encoder.encode(picture) for picture in pictures]


@pytest.mark.parametrize(("runtime", "precision"), VARIANTS)
def test_photos_come_back(tiny: Path, pictures: np.ndarray, files: list[bytes], runtime: str, precision: str):
    decoder = Decoder(str(tiny), runtime=runtime, precision=precision)
    assert (decoder.runtime, decoder.precision, decoder.device) == (runtime, precision, "cpu")
    decoded = np.stack([decoder.decode(data) for data in files])
    assert decoded.dtype == np.uint8
    assert psnr_db(decoded, pictures) > 27  # 24 of 768 numbers of each picture are kept


def test_runtimes_agree_within_one_level_in_float(tiny: Path, files: list[bytes]):
    one, other = (
        Decoder(str(tiny), runtime=runtime, precision="float") for runtime in ("onnxruntime", "openvino")
    )
    for data in files:
        assert np.abs(one.decode(data).astype(int) - other.decode(data)).max() <= 1


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize(("runtime", "precision"), VARIANTS)
def test_a_batch_equals_single_decodes_bit_for_bit(
    tiny: Path, files: list[bytes], runtime: str, precision: str, threads: int
):
    decoder = Decoder(str(tiny), runtime=runtime, precision=precision, threads=threads)
    single = [decoder.decode(data) for data in files]
    for batch in (decoder.decode_batch(files), decoder.decode_batch(files[::-1])[::-1]):
        assert all(np.array_equal(a, b) for a, b in zip(single, batch, strict=True))
    latents = np.stack([decoder.bundle.layout.unpack(container.parse(data).latents) for data in files])
    assert np.array_equal(decoder.decode_latents(latents), np.stack(single))


def test_a_tensor_of_several_pictures_would_not_be_equal(tiny: Path, files: list[bytes]):
    """Why decode_batch runs pictures one by one: dynamic int8 scales are those of the whole tensor."""
    decoder = Decoder(str(tiny), precision="int8")
    latents = np.stack([decoder.bundle.layout.unpack(container.parse(data).latents) for data in files])
    together = bundles.run_onnx((tiny / "synthesis.int8.onnx").read_bytes(), latents)
    assert not np.array_equal(together, decoder.decode_latents(latents))


def test_one_decoder_may_be_used_by_many_threads(tiny: Path, files: list[bytes]):
    decoder = Decoder(str(tiny), threads=2)
    single = [decoder.decode(data) for data in files]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: decoder.decode_batch(files), range(4)))
    assert all(np.array_equal(a, b) for result in results for a, b in zip(single, result, strict=True))


def test_empty_batches(tiny: Path):
    decoder = Decoder(str(tiny))
    assert decoder.decode_batch([]) == []
    assert decoder.decode_latents(np.empty((0, bundles.DIM))).shape == (0, 16, 16, 3)


def test_latents_of_another_shape(tiny: Path):
    with pytest.raises(FormatError, match=r"latents of shape \(3,\); model tiny takes \(24,\)"):
        Decoder(str(tiny)).decode_latents(np.zeros((2, 3)))


@pytest.mark.parametrize("coding", ["float32", "uint"])
def test_other_codings(tmp_path: Path, pictures: np.ndarray, coding: str):
    folder = bundles.build(tmp_path / "tiny", coding=coding, openvino=False)
    data = Encoder(folder).encode(pictures[0])
    assert len(container.parse(data).latents) == bundles.DIM * {"float32": 4, "uint": 1}[coding]
    assert psnr_db(Decoder(folder, precision="float").decode(data), pictures[0]) > 27


def test_denoised_pixels_are_those_of_both_graphs(tiny: Path, files: list[bytes]):
    plain = Decoder(str(tiny), precision="float").decode(files[0])
    denoised = Decoder(str(tiny), precision="float", denoise=True).decode(files[0])
    assert np.array_equal(denoised, bundles.run_onnx(bundles.denoiser(), plain[None])[0])
    assert not np.array_equal(denoised, plain)


def test_a_bundle_without_denoiser_or_encoder_says_so(tiny_copy: Path):
    def drop(manifest):
        dropped = [graph for graph in manifest["graphs"] if graph["role"] != "synthesis"]
        manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["role"] == "synthesis"]
        for graph in dropped:
            for file in graph["files"]:
                (tiny_copy / file["path"]).unlink()

    bundles.reseal(tiny_copy, drop)
    decant.Bundle.open(tiny_copy).verify()
    with pytest.raises(BundleError, match="no graph denoiser"):
        Decoder(tiny_copy, denoise=True)
    with pytest.raises(BundleError, match="model tiny cannot encode: it has a decoder only; no model here"):
        Encoder(tiny_copy)


def test_a_file_of_another_model_is_refused_by_name(tiny: Path, tmp_path: Path, pictures: np.ndarray):
    other = bundles.build(tmp_path / "other", name="other", offset=0.1, openvino=False)
    data = Encoder(other).encode(pictures[0])
    with pytest.raises(ModelNotFoundError, match=r"needs model other \([0-9a-f]{16}\); this decoder is tiny"):
        Decoder(str(tiny)).decode(data)


def test_the_size_limit(tiny: Path, files: list[bytes]):
    with pytest.raises(SizeLimitError, match="16x16 pixels; the limit is 255; raise it with --size-limit"):
        Decoder(str(tiny), size_limit=255).decode(files[0])
    assert Decoder(str(tiny), size_limit=256).decode(files[0]).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": b""}, "latents of 0 bytes; this model has 48"),
        ({"latents": b"\x00\x7e" * 24}, "latent 0 is not a finite number"),
        ({"width": 17}, "17x16 pixels; model tiny decodes to 16x16 only"),
        ({"width": 65535, "height": 65535}, "the limit is"),
        ({"quality": 60}, "model tiny has no qualities"),
        ({"alpha": b""}, "flagged grey or with alpha"),
        ({"grey": True}, "flagged grey or with alpha"),
        ({"model_id": bytes(8)}, "needs model tiny .0000000000000000."),
    ],
)
def test_wrong_content_under_right_checksums_is_refused(
    tiny: Path, files: list[bytes], change: dict[str, object], message: str
):
    data = container.write(replace(container.parse(files[0]), **change))
    with pytest.raises(decant.DecantError, match=message):
        Decoder(str(tiny)).decode(data, "photo.dcn")


@pytest.mark.parametrize("region", [(0, 0, 16, 16), (3, 5, 7, 2), (15, 15, 1, 1)])
def test_a_region_is_the_crop(tiny: Path, files: list[bytes], region: tuple[int, int, int, int]):
    decoder = Decoder(tiny)
    x, y, width, height = region
    crop = decoder.decode(files[0])[y : y + height, x : x + width]
    assert np.array_equal(decoder.decode_region(files[0], region), crop)


@pytest.mark.parametrize("region", [(0, 0, 17, 1), (0, 16, 1, 1), (-1, 0, 4, 4), (3, 3, 0, 4), (3, 3, 4, -1)])
def test_a_region_outside_the_picture(tiny: Path, files: list[bytes], region: tuple[int, int, int, int]):
    with pytest.raises(ImageError, match=r"is not within its 16x16 pixels"):
        Decoder(tiny).decode_region(files[0], region)


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage_is_always_our_error(tiny: Path, files: list[bytes], data: st.DataObject):
    decoder = _decoder(tiny)
    damaged = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    if bytes(damaged) in files:
        return
    with pytest.raises(decant.DecantError):
        decoder.decode(bytes(damaged))


@given(payload=st.binary(min_size=48, max_size=48))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_latents_under_right_checksums_give_a_picture_or_our_error(
    tiny: Path, files: list[bytes], payload: bytes
):
    data = container.write(replace(container.parse(files[0]), latents=payload))
    try:
        pixels = _decoder(tiny).decode(data)
    except FormatError:
        return
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8


_decoders: dict[Path, Decoder] = {}


def _decoder(folder: Path) -> Decoder:
    return _decoders.setdefault(folder, Decoder(folder))


def test_open_and_save_find_the_bundle_by_themselves(
    tiny: Path, tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DECANT_BUNDLES", str(tiny.parent))
    decant.save(tmp_path / "photo.dcn", pictures[0], "tiny")
    decant.save(tmp_path / "again.dcn", Image.fromarray(pictures[0]), tiny)
    assert (tmp_path / "photo.dcn").read_bytes() == (tmp_path / "again.dcn").read_bytes()
    assert np.array_equal(
        decant.open(tmp_path / "photo.dcn"), Decoder("tiny").decode((tmp_path / "again.dcn").read_bytes())
    )
    with pytest.raises(ModelNotFoundError, match="looked in"):
        decant.save(tmp_path / "x.dcn", pictures[0], "absent")
    assert not (tmp_path / "x.dcn").exists()
    with pytest.raises(FileNotFoundError):
        decant.open(tmp_path / "nothing.dcn")


def test_repr_says_what_was_asked_and_what_runs(tiny: Path):
    assert "asked auto runs cpu" in repr(Decoder(str(tiny), device="auto"))
    assert "tiny" in repr(Encoder(str(tiny)))
