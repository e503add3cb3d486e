"""A graph that decodes the golden files wrongly is refused by name, and the check is made once."""

import shutil
from pathlib import Path

import bundles
import numpy as np
import onnx
import pytest
from decant import Bundle, Decoder, GoldenError
from decant.errors import BundleError
from decant.selection.golden import psnr_db
from onnx import numpy_helper


def spoil(folder: Path, path: str, noise: float) -> None:
    """Put noise on the weights of a graph, as a faulty kernel would, and make every hash right again."""
    model = onnx.load(folder / path)
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name == "last.weight":
            array = numpy_helper.to_array(tensor)
            noisy = (array + noise * random.standard_normal(array.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noisy, tensor.name))
    onnx.save(model, folder / path)
    bundles.reseal(folder, lambda m: None, rehash=[path])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_psnr_of_known_arrays():
    a = np.zeros((4, 4, 3), np.uint8)
    assert psnr_db(a, a) == np.inf
    assert psnr_db(a, a + np.uint8(255)) == 0
    assert psnr_db(a, a + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)


def test_a_sound_graph_says_its_psnr(tiny: Path):
    assert Decoder(str(tiny), runtime="onnxruntime", precision="float").golden_psnr_db == np.inf
    assert 40 < Decoder(str(tiny), runtime="onnxruntime", precision="int8").golden_psnr_db < 70


def test_a_graph_below_its_floor_is_refused_by_name(tiny_copy: Path):
    spoil(tiny_copy, "synthesis.int8.onnx", 0.3)
    with pytest.raises(
        GoldenError,
        match=r"synthesis\.int8 \(onnxruntime\) [0-9.]+ on cpu .* at \d+\.\d dB, below its floor of 40\.0 dB",
    ):
        Decoder(str(tiny_copy), precision="int8")


def test_the_next_precision_is_tried_and_that_is_said(tiny_copy: Path, caplog: pytest.LogCaptureFixture):
    spoil(tiny_copy, "synthesis.int8.onnx", 0.3)
    decoder = Decoder(str(tiny_copy))
    assert decoder.precision == "float"
    assert "synthesis.int8" in decoder.notes[0]
    assert "trying the next graph" in caplog.text
    assert decoder.golden_psnr_db == np.inf


def test_one_runtime_may_fail_where_the_other_passes(tiny_copy: Path):
    spoil(tiny_copy, "synthesis.int8.onnx", 0.3)
    spoil(tiny_copy, "synthesis.float.onnx", 0.3)
    assert Decoder(str(tiny_copy)).runtime == "openvino"
    with pytest.raises(GoldenError, match="onnxruntime"):
        Decoder(str(tiny_copy), runtime="onnxruntime")


def test_a_small_error_passes_in_int8_and_not_in_float(tiny_copy: Path):
    spoil(tiny_copy, "synthesis.int8.onnx", 0.0025)
    spoil(tiny_copy, "synthesis.float.onnx", 0.0025)
    assert 40 <= Decoder(str(tiny_copy), precision="int8").golden_psnr_db < 48
    with pytest.raises(GoldenError, match=r"floor of 48\.0 dB"):
        Decoder(str(tiny_copy), precision="float", runtime="onnxruntime")


def test_a_failing_graph_is_refused_again_the_next_time(tiny_copy: Path):
    spoil(tiny_copy, "synthesis.int8.onnx", 0.3)
    for _ in range(2):
        with pytest.raises(GoldenError):
            Decoder(str(tiny_copy), precision="int8")


def test_the_check_is_made_once_unless_asked_for(tiny_copy: Path):
    options = {"precision": "float", "runtime": "onnxruntime"}
    Decoder(str(tiny_copy), **options)
    (tiny_copy / "golden" / "000.png").unlink()
    assert Decoder(str(tiny_copy), **options).golden_psnr_db == np.inf
    assert Decoder(str(tiny_copy), check_golden="never", **options).golden_psnr_db is None
    with pytest.raises(BundleError, match=r"000\.png"):
        Decoder(str(tiny_copy), check_golden="always", **options)


def test_a_bundle_of_other_content_is_checked_anew(tiny_copy: Path):
    options = {"precision": "int8", "runtime": "onnxruntime"}
    Decoder(str(tiny_copy), **options)
    spoil(tiny_copy, "synthesis.int8.onnx", 0.3)
    with pytest.raises(GoldenError):
        Decoder(str(tiny_copy), **options)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"mse": "much"}', b'{"mse": -1}', b"[" * 100_000])
def test_a_spoilt_cache_is_as_none(tiny: Path, tmp_path: Path, content: bytes):
    Decoder(str(tiny))
    (remembered,) = (tmp_path / "cache" / "decant" / "golden").iterdir()
    remembered.write_bytes(content)
    assert Decoder(str(tiny)).golden_psnr_db > 40


def test_a_cache_that_cannot_be_written_is_no_error(tiny: Path, tmp_path: Path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert Decoder(str(tiny)).golden_psnr_db > 40


def test_the_denoiser_is_checked_too(tiny_copy: Path):
    bundle = Bundle.open(tiny_copy)
    assert all(golden.denoised for golden in bundle.golden)
    shutil.copy(tiny_copy / "golden/000.png", tiny_copy / "golden/000.denoised.png")
    shutil.copy(tiny_copy / "golden/001.png", tiny_copy / "golden/001.denoised.png")
    bundles.reseal(tiny_copy, lambda m: None, rehash=["golden/000.denoised.png", "golden/001.denoised.png"])
    Decoder(str(tiny_copy))
    with pytest.raises(GoldenError, match="denoiser"):
        Decoder(str(tiny_copy), denoise=True, runtime="onnxruntime")
