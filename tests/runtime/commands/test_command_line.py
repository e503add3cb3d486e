"""The command `decant`: what each command prints and leaves behind, exit codes, one-line errors."""

import json
import re
import subprocess
import sys
from pathlib import Path

import bundles
import numpy as np
import pytest
from commands import decant, refusal
from decant import Decoder
from decant.backends import openvino
from decant.formats import container
from PIL import Image


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


class TestEncodeAndDecode:
    @pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".tiff", ".ppm", ".npy", ".PNG"])
    def test_a_file_becomes_a_picture(self, tiny: Path, coded: Path, tmp_path: Path, suffix: str):
        target = tmp_path / f"back{suffix}"
        result = decant("decode", coded, target, "--bundle-dir", tiny)
        assert (result.exit_code, result.output) == (0, "")
        pixels = np.load(target) if suffix == ".npy" else np.asarray(Image.open(target).convert("RGB"))
        assert np.array_equal(pixels, Decoder(tiny).decode(coded.read_bytes()))
        assert not leftovers(tmp_path)

    def test_a_crop(self, tiny: Path, coded: Path, tmp_path: Path):
        target = tmp_path / "part.png"
        assert decant("decode", coded, target, "--bundle-dir", tiny, "--crop", "3,5,7,2").exit_code == 0
        whole = Decoder(tiny).decode(coded.read_bytes())
        assert np.array_equal(np.asarray(Image.open(target)), whole[5:7, 3:10])
        assert "region 9x1 at 8,0 is not within its 16x16 pixels" in refusal(
            "decode", coded, target, "--bundle-dir", tiny, "--crop", "8,0,9,1"
        )
        for wrong in ("1,2,3", "a,b,c,d", "1,2,3,4,5", "1.5,0,1,1"):
            result = decant("decode", coded, target, "--crop", wrong)
            assert result.exit_code == 2
            assert f"'{wrong}' is not four whole numbers x,y,w,h" in result.stderr

    def test_a_model_of_one_quality_takes_no_settings(self, tiny: Path, photo: Path, tmp_path: Path):
        for setting in ("--quality=50", "--effort=1", "--target-bpp=1", "--target-psnr=30"):
            message = refusal("encode", photo, tmp_path / "a.dcn", "--bundle-dir", tiny, setting)
            assert "model tiny has no quality setting" in message

    def test_options_reach_the_decoder(self, tiny: Path, coded: Path, tmp_path: Path):
        options = [
            "--runtime",
            "openvino",
            "--precision",
            "float",
            "--threads",
            1,
            "--strict-device",
            "--denoise",
        ]
        assert decant("decode", coded, tmp_path / "back.npy", "--bundle-dir", tiny, *options).exit_code == 0
        expected = Decoder(tiny, runtime="openvino", denoise=True).decode(coded.read_bytes())
        assert np.array_equal(np.load(tmp_path / "back.npy"), expected)

    def test_metadata_survives_both_ways(self, tiny: Path, tmp_path: Path):
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = Image.fromarray(bundles.crops(200)[3])
        blocks = {"exif": exif, "icc_profile": b"profile", "xmp": b"<x/>"}
        picture.save(tmp_path / "in.webp", lossless=True, **blocks)
        decant("encode", tmp_path / "in.webp", tmp_path / "in.dcn", "--bundle-dir", tiny)
        for suffix in (".png", ".webp", ".tif"):
            decant("decode", tmp_path / "in.dcn", tmp_path / f"out{suffix}", "--bundle-dir", tiny)
            with Image.open(tmp_path / f"out{suffix}") as image:
                assert image.getexif()[0x0112] == 6
                assert image.info["icc_profile"] == b"profile"
                assert image.info["xmp"] == b"<x/>"

    def test_the_new_file_has_the_users_usual_permissions(self, tiny: Path, coded: Path, photo: Path):
        assert coded.stat().st_mode == photo.stat().st_mode

    def test_one_model_needs_no_name_and_two_do(self, tiny: Path, photo: Path, tmp_path: Path):
        bundles.build(tmp_path / "all" / "other", name="other", offset=0.1, openvino=False)
        bundles.build(tmp_path / "all" / "tiny", openvino=False)
        target = tmp_path / "photo.dcn"
        result = decant("encode", photo, target, "--bundle-dir", tmp_path / "all")
        assert result.exit_code == 2
        assert "several bundles can encode: other, tiny; choose one with --model" in result.stderr
        assert (
            decant("encode", photo, target, "--bundle-dir", tmp_path / "all", "--model", "other").exit_code
            == 0
        )
        assert container.parse(target.read_bytes()).name == "other"
        assert decant("encode", photo, target, "--model", tiny).exit_code == 0
        assert container.parse(target.read_bytes()).name == "tiny"

    def test_auto_on_the_cpu_is_said_on_stderr(self, tiny: Path, coded: Path, tmp_path: Path):
        result = decant("decode", coded, tmp_path / "a.png", "--bundle-dir", tiny, "--device", "auto")
        assert result.exit_code == 0
        assert result.stdout == ""
        assert result.stderr == "decant: device auto: no npu or gpu could be used, running on the cpu\n"


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--device", "npu"], "no NPU here: onnxruntime sees CPU; openvino sees CPU"),
            (["--device", "auto", "--strict-device"], "no npu or gpu here"),
            (["--precision", "int4"], "no graph synthesis int4"),
            (["--size-limit", "255"], "16x16 pixels; the limit is 255; raise it with --size-limit"),
        ],
    )
    def test_decoding(self, tiny: Path, coded: Path, tmp_path: Path, options: list[str], message: str):
        target = tmp_path / "out" / "back.png"
        target.parent.mkdir()
        assert message in refusal("decode", coded, target, "--bundle-dir", tiny, *options)
        assert list(target.parent.iterdir()) == []

    def test_an_earlier_picture_stays_when_decoding_fails(self, tiny: Path, coded: Path, tmp_path: Path):
        (tmp_path / "back.png").write_bytes(b"earlier")
        coded.write_bytes(coded.read_bytes()[:-1])
        assert "the file ends at" in refusal("decode", coded, tmp_path / "back.png", "--bundle-dir", tiny)
        assert (tmp_path / "back.png").read_bytes() == b"earlier"

    def test_a_missing_model_says_where_it_was_looked_for(self, coded: Path, tmp_path: Path):
        message = refusal("decode", coded, tmp_path / "back.png", "--bundle-dir", tmp_path / "nowhere")
        assert "model tiny with id" in message
        assert str(tmp_path / "nowhere") in message
        assert "give --bundle-dir or set DECANT_BUNDLES" in message

    def test_no_such_input(self, tmp_path: Path):
        for command in ("encode", "decode"):
            assert "nothing.x: no such file or folder" in refusal(
                command, tmp_path / "nothing.x", tmp_path / "y.png"
            )
        for command in ("info", "verify"):
            assert "no such file or folder" in refusal(command, tmp_path / "nothing.x")

    def test_output_in_a_folder_that_is_not_there(self, tiny: Path, coded: Path, tmp_path: Path):
        assert "No such folder" in refusal(
            "decode", coded, tmp_path / "absent" / "a.png", "--bundle-dir", tiny
        )

    def test_pictures_that_cannot_be_read(self, tiny: Path, tmp_path: Path):
        (tmp_path / "noise.png").write_bytes(bytes(range(200)))
        assert "not an image" in refusal(
            "encode", tmp_path / "noise.png", tmp_path / "a.dcn", "--bundle-dir", tiny
        )
        Image.new("RGB", (16, 16)).save(tmp_path / "cut.bmp")
        (tmp_path / "cut.bmp").write_bytes((tmp_path / "cut.bmp").read_bytes()[:300])
        assert "cannot be read" in refusal(
            "encode", tmp_path / "cut.bmp", tmp_path / "a.dcn", "--bundle-dir", tiny
        )
        Image.new("RGBA", (16, 16)).save(tmp_path / "alpha.png")
        assert "has transparency" in refusal(
            "encode", tmp_path / "alpha.png", tmp_path / "a.dcn", "--bundle-dir", tiny
        )
        Image.new("RGB", (300, 300)).save(tmp_path / "big.png")
        limited = ["--bundle-dir", tiny, "--size-limit", 1000]
        assert "the limit is 1000" in refusal("encode", tmp_path / "big.png", tmp_path / "a.dcn", *limited)
        assert not (tmp_path / "a.dcn").exists()
        assert not leftovers(tmp_path)

    def test_a_picture_format_that_is_not_written_is_a_usage_error(
        self, tiny: Path, coded: Path, tmp_path: Path
    ):
        result = decant("decode", coded, tmp_path / "back.jpg", "--bundle-dir", tiny)
        assert result.exit_code == 2
        assert "OUT must end in one of .png .webp .tif .tiff .ppm .npy, not .jpg" in result.stderr

    def test_nothing_to_encode_with(self, photo: Path, tmp_path: Path):
        assert "no bundle that can encode; looked in" in refusal("encode", photo, tmp_path / "a.dcn")


class TestFolders:
    @pytest.fixture
    def archive(self, tiny: Path, tmp_path: Path) -> Path:
        source = tmp_path / "photos"
        (source / "sub").mkdir(parents=True)
        for i, picture in enumerate(bundles.crops(200)[:9]):
            Image.fromarray(picture).save(source / ("sub" if i % 2 else ".") / f"{i}.png")
        (source / "notes.txt").write_text("no picture")
        result = decant("encode", source, tmp_path / "archive", "--bundle-dir", tiny)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == (
            f"9 of 9 files written to {tmp_path / 'archive'}; 1 skipped (not a picture: 1)\n"
        )
        return tmp_path / "archive"

    def test_a_folder_keeps_its_shape(self, tiny: Path, archive: Path, tmp_path: Path):
        assert len(list(archive.rglob("*.dcn"))) == 9
        result = decant("decode", archive, tmp_path / "back", "--bundle-dir", tiny, "--threads", 2)
        assert (result.exit_code, result.stderr) == (0, f"9 of 9 files written to {tmp_path / 'back'}\n")
        decoder = Decoder(tiny)
        for path in archive.rglob("*.dcn"):
            written = tmp_path / "back" / path.relative_to(archive).with_suffix(".png")
            assert np.array_equal(np.asarray(Image.open(written)), decoder.decode(path.read_bytes()))

    def test_a_bad_file_is_named_and_the_others_go_on(self, tiny: Path, archive: Path, tmp_path: Path):
        bad = archive / "sub" / "3.dcn"
        bad.write_bytes(bad.read_bytes()[:40])
        (archive / "4.dcn").write_bytes(b"")
        result = decant("decode", archive, tmp_path / "back", "--bundle-dir", tiny, "--format", "npy")
        assert result.exit_code == 1
        lines = result.stderr.splitlines()
        assert sorted(line.split(": ")[1] for line in lines[:2]) == sorted([str(bad), str(archive / "4.dcn")])
        assert lines[2:] == [f"7 of 9 files written to {tmp_path / 'back'}", "decant: 2 of 9 files failed"]
        assert len(list((tmp_path / "back").rglob("*.npy"))) == 7
        assert not leftovers(tmp_path)

    def test_an_empty_folder(self, tiny: Path, tmp_path: Path):
        (tmp_path / "in").mkdir()
        assert "no .dcn file in it" in refusal(
            "decode", tmp_path / "in", tmp_path / "out", "--bundle-dir", tiny
        )
        assert "no picture in it" in refusal(
            "encode", tmp_path / "in", tmp_path / "out", "--bundle-dir", tiny
        )


class TestInfoAndVerify:
    def test_info_of_a_file(self, coded: Path):
        said = json.loads(decant("info", coded, "--json").stdout)
        assert (said["kind"], said["model"], said["width"], said["height"]) == ("file", "tiny", 16, 16)
        assert said["bytes"] == coded.stat().st_size
        assert said["bits_per_pixel"] == 8 * said["bytes"] / 256
        assert said["sections"] == {"latents": 48}
        assert "model           tiny" in decant("info", coded).stdout

    def test_info_of_a_bundle(self, tiny: Path):
        said = json.loads(decant("info", tiny, "--json").stdout)
        assert (said["kind"], said["name"], said["golden"], len(said["graphs"])) == ("bundle", "tiny", 4, 7)
        text = decant("info", tiny).stdout
        assert "role       precision  runtime" in text
        assert "synthesis  int8       onnxruntime" in text

    def test_info_needs_no_runtime_and_no_numpy(self, tiny: Path, coded: Path):
        code = """
import sys
for name in ("numpy", "onnxruntime", "openvino", "PIL"):
    sys.modules[name] = None
from decant.commands.cli import main
for path in sys.argv[1:]:
    main(["info", path], standalone_mode=False)
"""
        subprocess.run([sys.executable, "-c", code, str(coded), str(tiny)], check=True, capture_output=True)

    def test_control_characters_of_a_bundle_are_not_obeyed(self, tiny_copy: Path):
        bundles.reseal(tiny_copy, lambda m: m.update(licence="\x1b[2Jgone\nnew", version="\ud800"))
        text = decant("info", tiny_copy).stdout
        assert "\x1b" not in text
        assert "[2Jgone" in text

    def test_verify_a_file(self, tiny: Path, coded: Path):
        result = decant("verify", coded, "--bundle-dir", tiny)
        assert result.exit_code == 0
        assert result.stdout == f"ok   {coded}: 16x16, model tiny 1.0.0, all checksums right\n"
        coded.write_bytes(coded.read_bytes() + b"!")
        assert "1 bytes after the last section" in refusal("verify", coded, "--bundle-dir", tiny)

    def test_verify_a_bundle(self, tiny: Path):
        result = decant("verify", tiny)
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert len(lines) == 8
        assert all(line.startswith("ok ") for line in lines)
        assert any("synthesis.float openvino" in line and "golden pixels" in line for line in lines)
        assert any("synthesis.int8 onnxruntime" in line and "(floor 40 dB)" in line for line in lines)

    def test_verify_names_every_graph_that_fails(self, tiny_copy: Path):
        (tiny_copy / "synthesis.float.onnx").write_bytes(bundles.denoiser())
        bundles.reseal(tiny_copy, lambda m: None, rehash=["synthesis.float.onnx"])
        result = decant("verify", tiny_copy)
        assert result.exit_code == 1
        assert sum(line.startswith("FAIL") for line in result.stdout.splitlines()) == 1
        assert "FAIL synthesis.float (onnxruntime) cpu" in result.stdout
        assert "1 of 8 checks failed" in result.stderr

    def test_verify_stops_at_damaged_files(self, tiny_copy: Path):
        (tiny_copy / "golden" / "000.png").write_bytes(b"")
        result = decant("verify", tiny_copy)
        assert (result.exit_code, len(result.stdout.splitlines())) == (1, 1)
        assert "golden/000.png: 0 bytes" in result.stdout

    def test_verify_checks_files_where_no_runtime_can_be_loaded(
        self, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(openvino, "_core_made", None)
        for runtime in ("onnxruntime", "openvino"):
            monkeypatch.setitem(sys.modules, runtime, None)
        result = decant("verify", tiny)
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[0].startswith("ok   files: ")
        assert all(line.startswith("skip ") and "pip install" in line for line in lines[1:])
        assert len(lines) == 8


class TestModelsAndDevices:
    def test_models(self, tiny: Path):
        said = json.loads(decant("models", "--bundle-dir", tiny, "--json").stdout)
        assert [model["name"] for model in said] == ["tiny"]
        assert "tiny  1.0.0" in decant("models", "--bundle-dir", tiny).stdout

    def test_the_terms_of_weights(self, tiny: Path, coded: Path):
        """As bundle.json states them, for people and for programs."""
        licence = json.loads((tiny / "bundle.json").read_text())["licence"]
        assert f"licence of tiny: {licence}" in decant("models", "--bundle-dir", tiny).stdout
        assert re.search(rf"^licence +{re.escape(licence)}$", decant("info", tiny).stdout, re.MULTILINE)
        said = json.loads(decant("info", coded, "--bundle-dir", tiny, "--json").stdout)
        assert said["model_licence"] == licence

    def test_no_models(self, tmp_path: Path):
        result = decant("models", "--bundle-dir", tmp_path)
        assert result.exit_code == 0
        assert f"no bundles; looked in {tmp_path}" in result.stderr

    def test_devices(self):
        said = json.loads(decant("devices", "--json").stdout)
        assert {"runtime": "native", "kind": "cpu"}.items() <= said[0].items()
        assert {"runtime": "onnxruntime", "kind": "cpu"}.items() <= said[1].items()
        result = decant("devices")
        assert "onnxruntime  cpu" in result.stdout
        assert "codec streams are decoded" in result.stderr

    def test_devices_without_openvino_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(openvino, "_core_made", None)
        monkeypatch.setitem(sys.modules, "openvino", None)
        result = decant("devices", "--json")
        assert result.exit_code == 0
        assert {device["runtime"] for device in json.loads(result.stdout)} == {"native", "onnxruntime"}
        assert "pip install 'decant-codec[openvino]'" in result.stderr
