"""Quality of a small real bundle and of JPEG: figures recomputed here from the files and the pixels."""

import json
import shutil

import bundles
import numpy as np
import pytest
from decant.bundles.bundle import Bundle, find_bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.formats import container
from decant.slim import slim
from decant_bench.common import metrics, record
from decant_bench.common.baselines import setting
from decant_bench.common.pictures import PictureSet, wheel_crops
from decant_bench.errors import BenchError
from decant_bench.evaluate import quality_table
from decant_bench.evaluate.quality import Options, compression_ratio, encode, measure, pick, q_score

COUNT = 30
RAW = bundles.SIDE * bundles.SIDE * 3


@pytest.fixture(scope="module")
def images() -> PictureSet:
    pixels = bundles.crops(200)[:COUNT]
    return PictureSet.of(tuple(f"set/{i:02}.png" for i in range(COUNT)), pixels, "photos of scikit-image")


@pytest.fixture(scope="module")
def measured(tiny, images) -> record.Record:
    return measure([Bundle.open(tiny)], images, Options(runtimes=("onnxruntime", "openvino")), command="test")


def row_of(measured: record.Record, label: str, runtime: str = "", pictures: str = "all"):
    (found,) = (
        row
        for row in measured["rows"]
        if (row["label"], row["subject"]["runtime"], row["pictures"]) == (label, runtime, pictures)
    )
    return found


def test_every_variant_has_a_row_without_and_with_denoiser(measured):
    models = {
        (row["label"], row["subject"]["runtime"])
        for row in measured["rows"]
        if row["subject"]["kind"] == "model"
    }
    assert models == {
        ("tiny float", "onnxruntime"),
        ("tiny float + denoiser", "onnxruntime"),
        ("tiny int8", "onnxruntime"),
        ("tiny int8 + denoiser", "onnxruntime"),
        ("tiny float", "openvino"),
        ("tiny float + denoiser", "openvino"),
    }


@pytest.mark.parametrize(("precision", "denoise"), [("float", False), ("int8", False), ("float", True)])
def test_figures_are_those_of_the_decoded_files(measured, tiny, images, precision, denoise):
    label = f"tiny {precision}{' + denoiser' * denoise}"
    row = row_of(measured, label, "onnxruntime")
    encoder = Encoder(tiny)
    decoder = Decoder(tiny, precision=precision, runtime="onnxruntime", denoise=denoise)
    for i, original in enumerate(images.pixels):
        data = encoder.encode(original)
        decoded = decoder.decode(data)
        assert row["psnr_db"][i] == metrics.psnr(original, decoded)
        assert row["ssim"][i] == metrics.ssim(original, decoded)
        assert row["file_bytes"][i] == len(data)
        assert row["payload_bytes"][i] == 2 * bundles.DIM == len(container.parse(data).latents)
    assert row["mean"]["psnr_db"] == pytest.approx(np.mean(row["psnr_db"]))
    assert row["mean"]["bits_per_pixel"] == pytest.approx(8 * np.mean(row["file_bytes"]) / bundles.SIDE**2)
    assert (row["requested_device"], row["device"]) == ("cpu", "cpu")


def test_the_published_ratio_counts_graphs_and_payload_and_the_other_all_files(measured, tiny):
    graphs = [tiny / "synthesis.float.onnx", tiny / "denoiser.float.onnx"]
    manifests = [tiny / "bundle.json", tiny / "model.json"]
    row = row_of(measured, "tiny float + denoiser", "onnxruntime")
    graph_bytes = sum(path.stat().st_size for path in graphs)
    client_bytes = graph_bytes + sum(path.stat().st_size for path in manifests)
    assert row["ratio"] == pytest.approx((graph_bytes / COUNT + 2 * bundles.DIM) / RAW)
    assert row["ratio_files"] == pytest.approx((client_bytes / COUNT + np.mean(row["file_bytes"])) / RAW)


def test_an_archive_larger_than_what_is_measured_shares_the_model_further(tiny, images):
    few = PictureSet.of(images.names[:2], images.pixels[:2], images.source)
    options = Options(codecs=(), archive_images=1000)
    row = measure([Bundle.open(tiny)], few, options)["rows"][0]
    assert row["ratio"] == pytest.approx((row["model_bytes"] / 1000 + 2 * bundles.DIM) / RAW)


def test_the_ratio_of_the_publication_is_met_by_its_formula():
    # small: 64 images of 256x256, 16 float32 latents; the decoder's layers are linear, block, last.
    linear = (16 + 1) * 64 * 64 * 64
    block = (64 * 4 * 4 + 1) * 32 + (64 + 1) * 32
    last = 32 * 4 * 4 * 3 + 3
    decoder = 4 * (linear + block + last)
    assert compression_ratio(decoder, 64, 16 * 4, 256 * 256 * 3) == pytest.approx(1.43, abs=0.005)


def test_jpeg_is_measured_at_ten_qualities_on_all_images_and_on_a_sample(measured, images):
    for quality_ in range(10, 101, 10):
        whole = row_of(measured, f"jpeg-q{quality_}")
        part = row_of(measured, f"jpeg-q{quality_}", pictures="sample")
        sizes = [len(setting(f"jpeg-q{quality_}").encode(picture)) for picture in images.pixels]
        assert whole["file_bytes"] == sizes
        assert whole["ratio"] == whole["ratio_files"] == pytest.approx(np.mean(sizes) / RAW)
        assert part["ssim"] == [whole["ssim"][i] for i in measured["sample"]]
        assert len(part["ssim"]) == 25


def test_the_sample_is_random_and_the_same_for_a_seed():
    assert pick(100, 25, 3) == pick(100, 25, 3) != pick(100, 25, 4)
    assert len(set(pick(100, 25, 3))) == 25
    assert pick(10, 25, 0) == list(range(10))


def test_q_of_a_worked_example():
    # From 20 to 40 dB: 30 and 35 dB are 0.5 and 0.75 of the way, 0.625 on average; SSIM is 0.85 on average.
    assert q_score([30, 35], [0.8, 0.9], (20, 40)) == pytest.approx(0.5 * 0.625 + 0.5 * 0.85)
    assert q_score([30, 35], [0.8, 0.9], (20, 40), alpha=0.2) == pytest.approx(0.2 * 0.625 + 0.8 * 0.85)
    assert q_score([np.inf, 20], [1, 0.5], (20, 40)) == pytest.approx(0.5 * 0.5 + 0.5 * 0.75)
    with pytest.raises(ValueError, match="two points of different PSNR"):
        q_score([30], [0.9], (30, 30))


def test_q_spans_the_mean_psnr_of_all_points(measured):
    means = [row["mean"]["psnr_db"] for row in measured["rows"]]
    low, high = measured["psnr_span_db"]
    assert (low, high) == (min(means), max(means))
    for row in measured["rows"]:
        part = (row["mean"]["psnr_db"] - low) / (high - low)
        assert row["q"] == pytest.approx(0.5 * part + 0.5 * row["mean"]["ssim"])


def test_ms_ssim_is_left_out_where_the_pictures_are_too_small_and_given_elsewhere(measured):
    assert row_of(measured, "jpeg-q50")["mean"]["ms_ssim"] is None
    large = wheel_crops(2, 192)
    (row,) = measure([], large, Options(codecs=("jpeg-q50",)))["rows"]
    decoded = setting("jpeg-q50").decoder()(setting("jpeg-q50").encode(large.pixels[1]))
    assert row["ms_ssim"][1] == metrics.ms_ssim(large.pixels[1], decoded)


def test_a_lossless_codec_is_exact_and_no_infinity_reaches_the_record(images, tmp_path):
    result = measure([], images, Options(codecs=("png", "jpeg-q10", "jpeg-q90"), sample=0))
    assert row_of(result, "png")["psnr_db"] == [None] * COUNT
    assert row_of(result, "png")["q"] == pytest.approx(1)
    record.write(result, tmp_path / "quality.json")
    assert quality_table.quality_rows(result)[0][3] == "exact"


def bundles_folder(measured: record.Record) -> str:
    return next(row["subject"]["bundle"] for row in measured["rows"] if row["subject"]["bundle"])


def test_the_record_says_what_made_it_and_is_read_back(measured, tmp_path):
    record.write(measured, tmp_path / "quality.json")
    back = record.read(tmp_path / "quality.json", "quality")
    assert back == json.loads(json.dumps(measured))
    assert back["command"] == "test"
    assert back["machine"]["cores"] >= 1
    assert back["versions"]["onnxruntime"]
    assert back["config"]["bundles"]["tiny"] == Bundle.open(bundles_folder(measured)).model_id


def test_a_ready_archive_is_matched_by_name_or_else_by_order(tiny, images, tmp_path):
    bundle = Bundle.open(tiny)
    fresh = encode(bundle, images)
    (tmp_path / "named/set").mkdir(parents=True)
    (tmp_path / "numbered").mkdir()
    for i, data in enumerate(fresh):
        (tmp_path / f"named/set/{i:02}.dcn").write_bytes(data)
        (tmp_path / f"numbered/{i:05}.dcn").write_bytes(data)
    assert encode(bundle, images, tmp_path / "named") == fresh
    assert encode(bundle, images, tmp_path / "numbered") == fresh
    (tmp_path / "named/set/07.dcn").unlink()
    with pytest.raises(BenchError, match=r"07.dcn: no such file.*\(30; it holds 29\)"):
        encode(bundle, images, tmp_path / "named")


def test_a_decoder_only_bundle_is_measured_from_its_archive(tiny, images, tmp_path):
    (tmp_path / "archive").mkdir()
    for i, data in enumerate(encode(Bundle.open(tiny), images)):
        (tmp_path / f"archive/{i:05}.dcn").write_bytes(data)
    alone = shutil.copytree(tiny, tmp_path / "tiny")
    for path in alone.glob("analysis.*"):
        path.unlink()

    def drop(manifest):
        manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["role"] != "analysis"]

    bundles.reseal(alone, drop)
    with pytest.raises(BenchError, match="bundle tiny has no encoder; give --archive"):
        measure([Bundle.open(alone)], images)
    result = measure(
        [Bundle.open(alone)], images, Options(codecs=("jpeg-q50",)), archive=tmp_path / "archive"
    )
    assert row_of(result, "tiny float", "onnxruntime")["mean"]["psnr_db"] > 20


def test_a_variant_that_cannot_run_is_a_row_that_says_why(tiny_copy, images):
    graph = tiny_copy / "synthesis.int8.onnx"
    shutil.copy(tiny_copy / "denoiser.float.onnx", graph)
    bundles.reseal(tiny_copy, lambda manifest: None, ["synthesis.int8.onnx"])
    result = measure([Bundle.open(tiny_copy)], images, Options(codecs=("jpeg-q50",)))
    assert row_of(result, "tiny int8", "onnxruntime")["refused"]
    assert row_of(result, "tiny float", "onnxruntime")["refused"] is None
    assert "tiny int8" in quality_table.as_text(result)
    assert [what for what, _ in quality_table.refused(result)] == [
        "tiny int8 (onnxruntime)",
        "tiny int8 + denoiser (onnxruntime)",
    ]


def test_a_variant_that_export_refused_is_a_row_too(tiny_copy, images):
    refusal = {
        "role": "synthesis",
        "precision": "int4",
        "runtime": "onnxruntime",
        "reason": "31 < 40 dB",
    }
    bundles.reseal(tiny_copy, lambda manifest: manifest.update(refused=[refusal]))
    result = measure([Bundle.open(tiny_copy)], images, Options(codecs=("jpeg-q50",)))
    assert quality_table.refused(result) == [
        ("tiny int4 (onnxruntime)", "not exported: 31 < 40 dB"),
    ]


def test_images_of_another_size_are_refused(tiny):
    with pytest.raises(BenchError, match="takes 16x16 pixels, the images are 32x32"):
        measure([Bundle.open(tiny)], wheel_crops(2, 32))


def test_the_table_shows_the_published_figures_beside_ours(measured):
    text = quality_table.as_text(measured)
    assert "tiny int8" in text
    assert "jpeg-q100" in text
    assert "small int8" in text
    assert "0.43" in text
    assert "Q > 0.99" in text


def test_a_bundle_for_clients_has_its_pictures_encoded_by_the_same_model(tmp_path):
    source = find_bundle("nano")
    client = slim(source, tmp_path / "client")
    assert not client.has("analysis")
    pictures = PictureSet.of(["a"], [np.full((32, 32, 3), 90, np.uint8)], "made here")
    assert encode(client, pictures) == encode(source, pictures)
