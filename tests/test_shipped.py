"""The bundles that ship in the wheel: whole, right on every runtime here, and free to use."""

import numpy as np
import pytest
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle
from decant.verify import verify_bundle
from decant_train.data import wheel_photos
from shipped_codecs import CODECS, SHIPPED, decoders, precisions


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_has_its_decoders(name: str) -> None:
    """Floats and int16 always; an int8 graph or, in ``refused``, what is wrong with it."""
    bundle = Bundle.open(SHIPPED / name)
    have = set(decoders(name))
    assert have >= {("onnxruntime", "float"), ("openvino", "float"), ("native", "int16")}
    refused = {(entry["runtime"], entry["precision"]) for entry in bundle.manifest.raw["refused"]}
    for runtime in ("onnxruntime", "openvino"):
        assert ((runtime, "int8") in have) != ((runtime, "int8") in refused)
    assert all(entry["reason"] for entry in bundle.manifest.raw["refused"])


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_is_usable_commercially(name: str) -> None:
    bundle = Bundle.open(SHIPPED / name)
    assert bundle.manifest.raw["commercial_use"] == "yes"
    assert "Commercial use: yes." in bundle.read("card.md").decode()


@pytest.mark.parametrize("name", ["small", *CODECS])
def test_every_graph_decodes_its_golden_files(name: str) -> None:
    findings = list(verify_bundle(SHIPPED / name, threads=1))
    assert findings
    assert not [str(finding) for finding in findings if finding.passed is False]


@pytest.mark.parametrize("name", CODECS)
def test_integers_lose_little_and_quality_reaches_far(name: str) -> None:
    """All precisions decode one file to nearly the same picture; qualities reach from low to high."""
    encoder = Encoder(name, threads=1)
    exact, *fast = (Decoder(name, precision=precision, threads=1) for precision in precisions(name))
    picture = wheel_photos.crops(14)[13]
    found = []
    for quality in (10, 60, 100):
        data = encoder.encode(picture, quality)
        errors = [np.square(d.decode(data).astype(np.float32) - picture).mean() for d in (exact, *fast)]
        found.append((len(data), 10 * np.log10(255**2 / errors[0])))
        assert all(10 * np.log10(error / errors[0]) < 0.6 for error in errors[1:])
    sizes, psnr = zip(*found, strict=True)
    assert list(sizes) == sorted(sizes)
    assert list(psnr) == sorted(psnr)
    assert psnr[-1] > psnr[0] + 3


@pytest.mark.parametrize("name", CODECS)
def test_files_are_for_every_decoder(name: str) -> None:
    """What is corrected for one decoder must not spoil the picture for another: a scanned page, whose steep
    edges are beyond what int8 graphs hold.
    """
    page = np.repeat(np.asarray(wheel_photos.photo("skimage.data", "page.png"))[:, :256, :1], 3, axis=2)
    data = Encoder(name, threads=1).encode(page, 90)
    exact, *fast = (
        np.square(Decoder(name, precision=precision, threads=1).decode(data).astype(np.float32) - page).mean()
        for precision in precisions(name)
    )
    assert all(exact < 1.02 * error for error in fast)


@pytest.mark.parametrize("name", CODECS)
def test_dark_strokes_stay_dark(name: str) -> None:
    """Of a page with strong contrast: at most 100 pixels are more than 30 levels from what float gives."""
    page = np.asarray(wheel_photos.photo("skimage.data", "page.png"), np.float32)[:, :256, :1]
    page = np.repeat(np.clip((page - 60) * 2.2, 0, 255).astype(np.uint8), 3, axis=2)
    data = Encoder(name, threads=1).encode(page, 60, effort=0)
    exact = Decoder(name, precision="float", threads=1).decode(data).astype(int)
    for precision in precisions(name)[1:]:
        decoded = Decoder(name, precision=precision, threads=1).decode(data)
        assert (np.abs(decoded - exact).max(2) > 30).sum() <= 100, precision
