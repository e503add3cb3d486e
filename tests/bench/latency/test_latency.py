"""A latency run on the tiny bundle: what is in the record. No test looks at how long anything took."""

import json
from pathlib import Path

import bundles
import numpy as np
import pytest
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant_bench.common import record
from decant_bench.common.baselines import setting
from decant_bench.common.cases import CodecCase, bundle_cases, codec_cases, refused_at_export
from decant_bench.common.fitting import require_size, side_for
from decant_bench.common.pictures import wheel_crops
from decant_bench.errors import BenchError
from decant_bench.latency import measure as latency
from decant_bench.latency import table as latency_table
from decant_bench.latency.case_process import CaseProcess


def test_every_variant_runtime_and_thread_count_has_a_row(latency_record, tiny):
    keys = [row["key"] for row in latency_record["rows"]]
    assert len(keys) == len(set(keys))
    # float and int8 in ONNX Runtime, float in OpenVINO; without and with denoiser; 1 and 2 threads.
    assert sum(row["subject"]["kind"] == "model" for row in latency_record["rows"]) == 3 * 2 * 2
    assert "tiny.float+denoiser openvino cpu t2" in keys
    assert [key for key in keys if key.startswith("avif")] == ["avif t1", "avif t2"]
    assert [key for key in keys if key.startswith("jpeg")] == ["jpeg-q90 t1"]


def test_every_row_has_samples_of_every_kind(latency_record, quick):
    for row in latency_record["rows"]:
        assert row["refused"] is None
        assert len(row["import_ns"]) == len(row["fresh_load_ns"]) == len(row["first_decode_ns"]) == 2
        assert len(row["decode_processes"]) == len(row["decode_ns"])
        assert set(row["decode_processes"]) == set(row["load_processes"]) == {0, 1}
        assert len(row["load_ns"]) == quick.load_rounds
        assert len(row["decode_ns"]) >= quick.rounds
        assert all(len(samples) >= quick.images_per_visit for samples in row["decode_ns"])
        assert all(
            isinstance(sample, int) and sample > 0 for samples in row["decode_ns"] for sample in samples
        )
        assert row["peak_memory_kib"][0] > 10_000
        assert len(row["page_faults"]) == 2
        assert all(len(samples) == quick.batch_rounds for samples in row["batch_ns_per_image"].values())


def test_all_rows_were_visited_in_every_round(latency_record):
    assert len({len(row["decode_ns"]) for row in latency_record["rows"]}) == 1


def test_codecs_without_threads_have_whole_set_times_for_every_count(latency_record):
    rows = {row["key"]: row for row in latency_record["rows"]}
    assert set(rows["jpeg-q90 t1"]["batch_ns_per_image"]) == {"1", "2"}
    assert set(rows["avif t2"]["batch_ns_per_image"]) == {"2"}
    assert set(rows["tiny.int8 onnxruntime cpu t2"]["batch_ns_per_image"]) == {"2"}


def test_the_device_asked_for_and_the_one_that_ran_are_both_there(latency_record):
    for row in latency_record["rows"]:
        wanted = "cpu" if row["subject"]["kind"] == "model" else None
        assert row["requested_device"] == row["device"] == wanted


def test_sizes_are_those_of_the_files(latency_record, tiny):
    rows = {row["key"]: row for row in latency_record["rows"]}
    bundle = Bundle.open(tiny)
    plain, mended = rows["tiny.int8 onnxruntime cpu t1"], rows["tiny.int8+denoiser onnxruntime cpu t1"]
    manifests = sum((tiny / name).stat().st_size for name in ("bundle.json", "model.json"))
    assert plain["model_bytes"] == bundle.graph("synthesis", "int8").bytes + manifests
    assert mended["model_bytes"] == plain["model_bytes"] + bundle.graph("denoiser").bytes
    assert rows["jpeg-q90 t1"]["model_bytes"] is None


def test_a_record_survives_json(latency_record, tmp_path):
    record.write(latency_record, tmp_path / "a.json")
    assert record.read(tmp_path / "a.json", "latency") == latency_record
    assert json.loads((tmp_path / "a.json").read_text())["schema"] == record.SCHEMA
    assert not list(tmp_path.glob("*.tmp"))


def test_the_configuration_hash_follows_the_work_and_not_the_folder(tiny, crops16, quick):
    bundle = Bundle.open(tiny)

    def hashed(images, options):
        cases = bundle_cases(bundle, options.runtimes, options.threads)
        return record.config_hash(latency.config_of([bundle], cases, images, options))

    base = hashed(crops16, quick)
    moved = type(crops16).of(crops16.names, crops16.pixels.copy(), "another folder")
    assert hashed(moved, quick) == base
    assert hashed(crops16, latency.Options(**{**quick.__dict__, "max_minutes": 9.0})) == base
    assert hashed(crops16, latency.Options(**{**quick.__dict__, "rounds": 5})) != base
    changed = crops16.pixels.copy()
    changed[0, 0, 0, 0] ^= 1
    assert hashed(type(crops16).of(crops16.names, changed, crops16.source), quick) != base


def test_the_table_shows_every_row_and_the_publication(latency_record):
    text = latency_table.as_text(latency_record)
    found = latency_table.figures(latency_record)
    assert len(found) == len(latency_record["rows"])
    reference = next(f for f in found if f.row["key"] == "jpeg-q90 t1")
    assert reference.to_jpeg.ratio == reference.load_ratio.ratio == pytest.approx(1)
    for word in (
        "tiny int8 + denoiser",
        "openvino",
        "cpu>cpu",
        "jpeg-q90",
        "published: small int8",
        "doubtful",
    ):
        assert word in text


def test_ratios_are_of_rounds_taken_together(latency_record):
    found = {f.row["key"]: f for f in latency_table.figures(latency_record)}
    rows = {row["key"]: row for row in latency_record["rows"]}

    def medians(key):
        return np.array([np.median(samples) for samples in rows[key]["decode_ns"]])

    logs = np.log(medians("png t1") / medians("jpeg-q90 t1"))
    numbers = np.array(rows["png t1"]["decode_processes"])
    by_process = [np.median(logs[numbers == number]) for number in sorted(set(numbers))]
    png = found["png t1"]
    assert png.to_jpeg.ratio == pytest.approx(np.exp(np.mean(by_process)))
    assert png.to_jpeg.processes == 2
    assert png.to_jpeg.low <= png.to_jpeg.ratio <= png.to_jpeg.high
    every = [ns for samples in rows["png t1"]["decode_ns"] for ns in samples]
    assert png.decode.median == pytest.approx(np.median(every) / 1e6)


def test_ratios_to_avif_are_on_as_many_threads(latency_record):
    found = {f.row["key"]: f for f in latency_table.figures(latency_record)}
    assert found["avif t1"].to_avif.ratio == found["avif t2"].to_avif.ratio == pytest.approx(1)
    assert found["jpeg-q90 t1"].to_avif.ratio == pytest.approx(1 / found["avif t1"].to_jpeg.ratio)


def test_a_variant_that_fails_its_golden_files_is_shown_as_refused(tmp_path, crops16, quick):
    folder = bundles.build(tmp_path / "tiny", openvino=False)
    bundles.reseal(
        folder, lambda m: [g.update(floor_db=120.0) for g in m["graphs"] if g["precision"] == "int8"]
    )
    options = latency.Options(**{**quick.__dict__, "runtimes": ("onnxruntime",), "threads": (1,)})
    found = latency.measure([Bundle.open(folder)], crops16, options)
    refused = {row["key"]: row["refused"] for row in found["rows"] if row["refused"]}
    assert set(refused) == {"tiny.int8 onnxruntime cpu t1", "tiny.int8+denoiser onnxruntime cpu t1"}
    assert all("below its floor of 120.0 dB" in reason for reason in refused.values())
    assert "below its floor" in latency_table.as_text(found)


def test_a_device_that_is_not_here_is_shown_as_refused(tiny, crops16, quick):
    options = latency.Options(**{**quick.__dict__, "device": "npu", "threads": (1,), "codecs": ("png",)})
    found = latency.measure([Bundle.open(tiny)], crops16, options)
    models = [row for row in found["rows"] if row["subject"]["kind"] == "model"]
    assert models
    assert all("no NPU here" in row["refused"] for row in models)


def test_variants_that_export_refused_are_named(tiny_copy, crops16, quick):
    entry = {"role": "synthesis", "precision": "int4", "runtime": "onnxruntime", "psnr_to_float_db": 31.2}
    entry |= {"floor_db": 40.0, "reason": "31.2 dB to float"}
    bundles.reseal(tiny_copy, lambda manifest: manifest["refused"].append(entry))
    (found,) = refused_at_export(Bundle.open(tiny_copy), ("onnxruntime",), 0)
    assert (found[0].label, found[1]) == ("tiny int4", "not exported: 31.2 dB to float")
    assert refused_at_export(Bundle.open(tiny_copy), ("openvino",), 0) == []


def test_images_of_another_size_are_an_error(tiny, quick):
    with pytest.raises(BenchError, match="takes 16x16 pixels, the images are 24x24"):
        latency.measure([Bundle.open(tiny)], wheel_crops(2, 24), quick)


def test_both_sides_give_uint8_rgb(tiny, crops16):
    bundle = Bundle.open(tiny)
    coded = latency.encode(bundle, crops16)
    for case in bundle_cases(bundle, ("onnxruntime", "openvino"), (1,)):
        assert _is_picture(case.decoder().decode(coded[0]))
    for case in codec_cases(("jpeg-q30", "png", "webp-q80", "avif", "jxl"), (1,)):
        assert _is_picture(case.decoding()(setting(case.name).encode(crops16.pixels[0])))


def test_whole_sets_are_decoded_by_decode_batch(tiny, crops16):
    decoder = Decoder(tiny, threads=2)
    coded = latency.encode(Bundle.open(tiny), crops16)
    for alone, together in zip([decoder.decode(d) for d in coded], decoder.decode_batch(coded), strict=True):
        assert np.array_equal(alone, together)


def test_a_process_that_fails_says_why(tmp_path):
    (tmp_path / "x").write_bytes(b"no JPEG")
    failing = CaseProcess(CodecCase("jpeg-q90"), [tmp_path / "x"])
    with (
        pytest.raises(RuntimeError, match=r"jpeg-q90 t1: failed in a fresh process: .*cannot identify"),
        failing,
    ):
        pass


def test_a_process_that_does_not_answer_is_ended(tmp_path, crops16):
    (tmp_path / "x").write_bytes(setting("png").encode(crops16.pixels[0]))
    slow = CaseProcess(CodecCase("png"), [tmp_path / "x"], timeout_s=0.01)
    with pytest.raises(RuntimeError, match="nothing after 0 s in a fresh process"), slow:
        pass


def test_a_process_loads_again_and_streams_pictures(tmp_path, tiny, crops16):
    paths = []
    for number, data in enumerate(latency.encode(Bundle.open(tiny), crops16)):
        paths.append(tmp_path / f"{number}.dcn")
        paths[-1].write_bytes(data)
    cases = bundle_cases(Bundle.open(tiny), ("onnxruntime",), (1,))
    case = next(one for one in cases if one.precision == "float" and not one.denoise)
    with CaseProcess(case, paths, paths[:1]) as process:
        assert process.cold["cold_process_ns"] > process.cold["import_ns"] > 0
        assert process.load(0) > 0
        assert process.load(1, paths[:1]) > 0
        found = process.throughput(2, 9)
        assert found["ns"] > 0
        assert found["peak_memory_kib"] >= process.cold["peak_memory_kib"]
        assert len(process.visit(0, 2, 3)) == 6


def test_loading_reads_the_files_that_count_as_the_models(tiny):
    bundle = Bundle.open(tiny)
    case = next(s for s in bundle_cases(bundle, ("openvino",), (1,)) if s.denoise)
    names = {path.name for path in case.files(bundle)}
    assert {"synthesis.float.xml", "synthesis.float.bin", "denoiser.float.xml", "model.json"} <= names
    assert not any(name.endswith((".onnx", ".png")) for name in names)


def test_a_codec_reads_its_mean_graph_too(codec):
    bundle = Bundle.open(codec)
    for case in bundle_cases(bundle, ("onnxruntime", "openvino"), (1,)):
        names = [path.name for path in case.files(bundle)]
        assert sum(name.startswith("hyper_mean.") and not name.endswith(".bin") for name in names) == 1
        assert not any(name.startswith(("analysis.", "hyper_analysis.")) for name in names)


def test_a_bundle_of_any_size_takes_the_size_of_the_others(codec, tiny):
    assert side_for([Bundle.open(codec), Bundle.open(tiny)]) == 16
    assert side_for([Bundle.open(codec)]) == 512
    require_size([Bundle.open(codec), Bundle.open(tiny)], wheel_crops(1, 16))
    with pytest.raises(BenchError, match="bundle tiny takes 16x16"):
        require_size([Bundle.open(codec), Bundle.open(tiny)], wheel_crops(1, 32))


def _is_picture(decoded) -> bool:
    return decoded.dtype == np.uint8 and decoded.shape == (16, 16, 3)


def test_page_cache_can_be_dropped_or_says_that_it_cannot(tmp_path: Path):
    from decant_bench.latency import page_cache

    path = tmp_path / "x"
    path.write_bytes(bytes(1 << 20))
    left = page_cache.drop([path])
    assert left is None or 0 <= left <= 1
    assert path.read_bytes() == bytes(1 << 20)


def test_a_bundle_without_encoder_needs_an_archive(tiny_copy, crops16, quick, tmp_path):
    for path in tiny_copy.glob("analysis.*"):
        path.unlink()
    coded = latency.encode(Bundle.open(tiny_copy), crops16, _archive_of(tiny_copy, tmp_path))
    bundles.reseal(tiny_copy, lambda m: m.update(graphs=[g for g in m["graphs"] if g["role"] != "analysis"]))
    bundle = Bundle.open(tiny_copy)
    options = latency.Options(**{**quick.__dict__, "runtimes": ("onnxruntime",), "threads": (1,)})
    with pytest.raises(BenchError, match="no encoder; give --archive"):
        latency.measure([bundle], crops16, options)
    found = latency.measure([bundle], crops16, options, archive=tmp_path / "archive")
    row = next(row for row in found["rows"] if row["subject"]["kind"] == "model")
    assert row["file_bytes"] == len(coded[0])
    with pytest.raises(BenchError, match="an archive belongs to one bundle; 2 were given"):
        latency.measure([bundle, bundle], crops16, options, archive=tmp_path / "archive")


def _archive_of(bundle: Path, place: Path) -> Path:
    """The bundle's golden files, four as there are pictures."""
    (place / "archive").mkdir()
    for path in (bundle / "golden").glob("*.dcn"):
        (place / "archive" / path.name).write_bytes(path.read_bytes())
    return place / "archive"
