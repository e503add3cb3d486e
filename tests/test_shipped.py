"""The bundles that ship in the wheel: whole, right on every runtime here, and as small as promised."""

from pathlib import Path

import numpy as np
import pytest
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle
from decant.verify import verify_bundle
from decant_bench.common import metrics
from decant_train.data import wheel_photos

SHIPPED = Path(__file__).parents[1] / "artifacts" / "decant_bundles"
# Most bytes of the whole int8 decoder.
CODECS = {"lite": 1_000_000, "nano": 810_000, "full": 1_700_000, "lite-ms-ssim": 1_000_000}


@pytest.mark.parametrize("name", ["small", *CODECS])
def test_every_graph_decodes_its_golden_files(name: str) -> None:
    findings = list(verify_bundle(SHIPPED / name, threads=1))
    assert findings
    assert not [str(finding) for finding in findings if finding.passed is False]


@pytest.mark.parametrize("name", CODECS)
def test_a_whole_decoder_is_as_small_as_promised(name: str) -> None:
    bundle = Bundle.open(SHIPPED / name)
    graphs = [
        bundle.graph("synthesis", "int8", "onnxruntime"),
        bundle.graph("hyper_mean", None, "onnxruntime"),
    ]
    files = [bundle.path / "model.json", bundle.path / "tables.safetensors"]
    size = sum(graph.bytes for graph in graphs) + sum(path.stat().st_size for path in files)
    assert size <= CODECS[name]


@pytest.mark.parametrize("name", CODECS)
def test_int8_loses_little_and_quality_reaches_far(name: str) -> None:
    """Both precisions decode one file to nearly the same picture; qualities reach from low to high."""
    encoder = Encoder(name, threads=1)
    fast, exact = (Decoder(name, precision=precision, threads=1) for precision in ("int8", "float"))
    picture = wheel_photos.crops(14)[13]
    found = []
    for quality in (10, 60, 100):
        data = encoder.encode(picture, quality)
        errors = [np.square(d.decode(data).astype(np.float32) - picture).mean() for d in (fast, exact)]
        found.append((len(data), 10 * np.log10(255**2 / errors[1])))
        assert 10 * np.log10(errors[0] / errors[1]) < 0.6
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
    pictures = (Decoder(name, precision=precision, threads=1).decode(data) for precision in ("int8", "float"))
    fast, exact = (np.square(picture.astype(np.float32) - page).mean() for picture in pictures)
    assert exact < 1.02 * fast


@pytest.mark.parametrize("name", CODECS)
def test_dark_strokes_stay_dark(name: str) -> None:
    """Of a page with strong contrast: at most 100 pixels are more than 30 levels from what float gives."""
    page = np.asarray(wheel_photos.photo("skimage.data", "page.png"), np.float32)[:, :256, :1]
    page = np.repeat(np.clip((page - 60) * 2.2, 0, 255).astype(np.uint8), 3, axis=2)
    data = Encoder(name, threads=1).encode(page, 60, effort=0)
    exact = Decoder(name, precision="float", threads=1).decode(data).astype(int)
    for precision in ("int16", "int8"):
        decoded = Decoder(name, precision=precision, threads=1).decode(data)
        assert (np.abs(decoded - exact).max(2) > 30).sum() <= 100, precision


def test_the_perceptual_bundle_gives_more_ms_ssim_for_its_bytes() -> None:
    """And less PSNR; its encoder's graphs are those of ``lite``."""
    shared = ("analysis", "hyper_analysis")
    files = [file for role in shared for file in Bundle.open(SHIPPED / "lite-ms-ssim").graph(role).files]
    assert {file.of for file in files} == {"lite"}
    pictures = wheel_photos.crops(8)[4:]
    curves = {}
    for name in ("lite", "lite-ms-ssim"):
        encoder, decoder = Encoder(name, threads=1), Decoder(name, threads=1)
        points = []
        for quality in (10, 30, 50, 70, 90):
            coded = [encoder.encode(picture, quality) for picture in pictures]
            decoded = [decoder.decode(data) for data in coded]
            pairs = list(zip(pictures, decoded, strict=True))
            similar = np.mean([metrics.ms_ssim(*pair) for pair in pairs])
            psnr = np.mean([metrics.psnr(*pair) for pair in pairs])
            points.append((np.log(sum(map(len, coded))), -10 * np.log10(1 - similar), psnr))
        curves[name] = np.array(points).T
    rates = [curve[0] for curve in curves.values()]
    shared_rates = np.linspace(max(r[0] for r in rates), min(r[-1] for r in rates), 20)
    mean, perceptual = (
        [np.interp(shared_rates, curve[0], values) for values in curve[1:]] for curve in curves.values()
    )
    assert (perceptual[0] - mean[0]).mean() > 0.3
    assert (perceptual[1] - mean[1]).mean() < 0
