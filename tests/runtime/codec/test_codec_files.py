"""Codec files from end to end: command line, folders, `decant.open`, `decant.save`, info and verify."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import decant
import numpy as np
import pytest
from click.testing import CliRunner, Result
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant.formats import container
from decant.selection.golden import psnr_db
from PIL import Image
from soft_photos import photo as soft_photo


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refusal(*arguments: object) -> str:
    """The one line on stderr of a command that must fail with exit code 1."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


def photo(width: int = 130, height: int = 90) -> Image.Image:
    return Image.fromarray(soft_photo(width, height))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    photo().save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def coded(codec: Path, picture: Path) -> Path:
    result = run("encode", picture, picture.with_suffix(".dcn"), "--bundle-dir", codec)
    assert (result.exit_code, result.stdout) == (0, "")
    return picture.with_suffix(".dcn")


class TestEncode:
    def test_settings_reach_the_encoder(self, codec: Path, picture: Path, tmp_path: Path):
        encoder = Encoder(codec)
        for options, settings in (
            ([], {}),
            (["--quality", 30], {"quality": 30}),
            (["--quality", 30, "--effort", 0], {"quality": 30, "effort": 0}),
            (["--effort", 2], {"effort": 2}),
            (["--target-bpp", 0.9], {"target_bpp": 0.9}),
            (["--target-psnr", 26], {"target_psnr": 26.0}),
        ):
            target = tmp_path / "out.dcn"
            assert run("encode", picture, target, "--bundle-dir", codec, *options).exit_code == 0
            with Image.open(picture) as image:
                assert target.read_bytes() == encoder.encode(image, **settings), options

    def test_refusals(self, codec: Path, picture: Path, tmp_path: Path):
        target = ["encode", picture, tmp_path / "out.dcn", "--bundle-dir", codec]
        assert "cannot be met; quality 1 takes" in refusal(*target, "--target-bpp", 0.0001)
        assert "give one of quality, target_bpp" in refusal(*target, "--quality", 5, "--target-psnr", 30)
        assert "130x90 pixels; the limit is 1000" in refusal(*target, "--size-limit", 1000)
        Image.new("CMYK", (16, 16)).save(tmp_path / "print.tif")
        assert "print.tif: mode CMYK" in refusal(
            "encode", tmp_path / "print.tif", tmp_path / "out.dcn", "--bundle-dir", codec
        )
        for wrong in (["--quality", 0], ["--effort", 10], ["--target-bpp", 0], ["--target-psnr", -3]):
            assert run(*target, *wrong).exit_code == 2
        assert not (tmp_path / "out.dcn").exists()

    def test_lite_is_the_default_among_several(self, codec: Path, tiny: Path, picture: Path, tmp_path: Path):
        folder = tmp_path / "bundles"
        shutil.copytree(tiny, folder / "tiny")
        shutil.copytree(codec, folder / "codec")
        result = run("encode", picture, tmp_path / "a.dcn", "--bundle-dir", folder)
        assert result.exit_code == 2
        assert "several bundles can encode: codec, tiny; choose one with --model" in result.stderr
        named = folder / "codec" / "codec.dcnm"
        named.rename(named.with_name("lite.dcnm"))

        def rename(manifest: dict[str, Any]) -> None:
            manifest["name"] = "lite"
            for file in [file for graph in manifest["graphs"] for file in graph["files"]]:
                file["path"] = file["path"].replace("codec.dcnm", "lite.dcnm")

        bundles.reseal(folder / "codec", rename)
        assert run("encode", picture, tmp_path / "a.dcn", "--bundle-dir", folder).exit_code == 0
        assert container.parse((tmp_path / "a.dcn").read_bytes()).name == "lite"

    def test_help_says_what_becomes_of_the_orientation(self):
        assert "the pixels are not rotated" in " ".join(run("encode", "--help").output.split())


class TestDecode:
    @pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".tiff", ".npy", ".ppm"])
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
    def test_pictures_keep_their_kind(self, codec: Path, tmp_path: Path, suffix: str, mode: str):
        image = photo().convert(mode.replace("A", ""))
        if "A" in mode:
            image.putalpha(Image.radial_gradient("L").resize(image.size))
        image.save(tmp_path / "in.png")
        assert run("encode", tmp_path / "in.png", tmp_path / "a.dcn", "--bundle-dir", codec).exit_code == 0
        target = tmp_path / f"out{suffix}"
        arguments = ["decode", tmp_path / "a.dcn", target, "--bundle-dir", codec]
        if suffix == ".ppm" and "A" in mode:
            assert "which PPM does not hold" in refusal(*arguments)
            return
        result = run(*arguments)
        assert (result.exit_code, result.output) == (0, "")
        expected = Decoder(codec).decode((tmp_path / "a.dcn").read_bytes())
        if suffix == ".npy":
            assert np.array_equal(np.load(target), expected)
            return
        with Image.open(target) as opened:
            kinds = {".webp": mode.replace("LA", "RGBA").replace("L", "RGB"), ".ppm": "RGB"}
            assert opened.mode == kinds.get(suffix, mode)
            full = opened.convert("RGBA" if "A" in mode else "RGB")
        assert np.array_equal(np.asarray(full), expected)

    def test_metadata_survives_in_every_format_that_holds_it(self, codec: Path, tmp_path: Path):
        exif = Image.Exif()
        exif[0x0112] = 6
        blocks = {"exif": exif, "icc_profile": b"profile", "xmp": b"<x/>"}
        photo().save(tmp_path / "in.webp", lossless=True, **blocks)
        run("encode", tmp_path / "in.webp", tmp_path / "a.dcn", "--bundle-dir", codec)
        for suffix in (".png", ".webp", ".tif"):
            run("decode", tmp_path / "a.dcn", tmp_path / f"out{suffix}", "--bundle-dir", codec)
            with Image.open(tmp_path / f"out{suffix}") as opened:
                if suffix != ".tif":  # of which Pillow tells the size as it is to be turned
                    assert opened.size == (130, 90)
                assert opened.getexif()[0x0112] == 6
                assert opened.info["icc_profile"] == b"profile"
                assert opened.info["xmp"] == b"<x/>"

    def test_exif_that_tiff_cannot_hold(self, codec: Path, coded: Path, tmp_path: Path):
        file = replace(container.parse(coded.read_bytes()), exif=b"Exif\0\0no tags at all")
        coded.write_bytes(container.write(file))
        result = run("decode", coded, tmp_path / "out.tif", "--bundle-dir", codec)
        assert result.exit_code == 0
        assert "EXIF, which is damaged and cannot become TIFF tags" in result.stderr
        assert run("decode", coded, tmp_path / "out.png", "--bundle-dir", codec).exit_code == 0

    def test_a_crop(self, codec: Path, coded: Path, tmp_path: Path):
        crop = ["--crop", "20,30,50,40"]
        assert run("decode", coded, tmp_path / "part.png", "--bundle-dir", codec, *crop).exit_code == 0
        whole = Decoder(codec).decode(coded.read_bytes())
        assert np.array_equal(np.asarray(Image.open(tmp_path / "part.png")), whole[30:70, 20:70])

    def test_damage_is_named(self, codec: Path, coded: Path, tmp_path: Path):
        file = container.parse(coded.read_bytes())
        coded.write_bytes(container.write(replace(file, latents=file.latents[:-4])))
        for command in (["decode", coded, tmp_path / "out.png"], ["verify", coded]):
            message = refusal(*command, "--bundle-dir", codec)
            assert message.startswith(f"decant: {coded}: tile 0: ")
        assert not (tmp_path / "out.png").exists()


class TestFolders:
    def test_there_and_back(self, codec: Path, tmp_path: Path):
        source = tmp_path / "photos"
        (source / "sub").mkdir(parents=True)
        photo(40, 50).save(source / "a.png")
        photo(64, 64).convert("L").save(source / "b.jpg")
        image = photo(100, 30)
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(source / "sub" / "c.webp", lossless=True)
        result = run("encode", source, tmp_path / "coded", "--bundle-dir", codec, "--quality", 80)
        assert (result.exit_code, result.stderr) == (0, f"3 of 3 files written to {tmp_path / 'coded'}\n")
        crop = ["--crop", "1,2,30,20", "--format", "tiff"]
        result = run("decode", tmp_path / "coded", tmp_path / "back", "--bundle-dir", codec, *crop)
        assert (result.exit_code, result.stderr) == (0, f"3 of 3 files written to {tmp_path / 'back'}\n")
        modes = {}
        for path in (tmp_path / "back").rglob("*.tiff"):
            with Image.open(path) as image:
                modes[path.stem] = image.mode
                assert image.size == (30, 20)
        assert modes == {"a": "RGB", "b": "L", "c": "RGBA"}


class TestInfoAndVerify:
    def test_info_of_a_file(self, codec: Path, coded: Path, tmp_path: Path):
        said = json.loads(run("info", coded, "--bundle-dir", codec, "--json").stdout)
        wanted = {"width": 130, "height": 90, "quality": 60, "grey": False, "alpha": False, "groups": 1}
        assert wanted.items() <= said.items()
        side = 16 * Bundle.open(codec).model["latent"]["group"]
        file = replace(container.parse(coded.read_bytes()), width=2 * side + 1, grey=True, alpha=b"\0\xff")
        (tmp_path / "large.dcn").write_bytes(container.write(file))
        said = json.loads(run("info", tmp_path / "large.dcn", "--bundle-dir", codec, "--json").stdout)
        assert {"grey": True, "alpha": True, "groups": 3}.items() <= said.items()
        assert said["sections"]["alpha"] == 2
        text = run("info", coded, "--bundle-dir", codec).stdout
        lines = [line.split() for line in text.splitlines()]
        assert ["quality", "60"] in lines
        assert ["groups", "1"] in lines

    def test_info_without_the_bundle(self, coded: Path, tmp_path: Path):
        said = json.loads(run("info", coded, "--bundle-dir", tmp_path, "--json").stdout)
        assert (said["quality"], said["groups"]) == (60, None)

    def test_info_of_the_bundle(self, codec: Path):
        said = json.loads(run("info", codec, "--json").stdout)
        assert said["latent"]["layout"] == "grid"
        assert any(graph["role"] == "hyper_mean" for graph in said["graphs"])

    def test_models_take_any_size(self, codec: Path):
        rows = run("models", "--bundle-dir", codec).stdout.splitlines()
        assert rows[1].split()[0] == Bundle.open(codec).name
        assert "  any  " in rows[1]

    def test_verify_a_file(self, codec: Path, coded: Path):
        bundle = Bundle.open(codec)
        result = run("verify", coded, "--bundle-dir", codec)
        model = f"model {bundle.name} {bundle.version}, all checksums right"
        assert result.stdout == f"ok   {coded}: 130x90, quality 60, 1 tile of symbols decoded, {model}\n"

    def test_verify_decodes_every_group_and_the_alpha(self, codec: Path, tmp_path: Path):
        side = 16 * Bundle.open(codec).model["latent"]["group"]
        image = photo(side + 40, side + 20).convert("LA")
        data = Encoder(codec).encode(image)
        (tmp_path / "a.dcn").write_bytes(data)
        said = run("verify", tmp_path / "a.dcn", "--bundle-dir", codec).stdout
        assert "grey, quality 60, 4 tiles of symbols decoded, alpha decoded, model" in said
        file = container.parse(data)
        (tmp_path / "a.dcn").write_bytes(container.write(replace(file, alpha=b"\x09")))
        assert "alpha method 9 is unknown" in refusal("verify", tmp_path / "a.dcn", "--bundle-dir", codec)

    def test_verify_the_bundle(self, codec: Path):
        result = run("verify", codec)
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert len(lines) == 1 + len(Bundle.open(codec).graphs)
        assert not any(line.startswith("FAIL") for line in lines)


class TestLibrary:
    def test_open_and_save(self, codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("DECANT_BUNDLES", str(codec))
        name = Bundle.open(codec).name
        image = photo().convert("RGBA")
        decant.save(tmp_path / "a.dcn", image, name, quality=90, effort=0)
        assert (tmp_path / "a.dcn").read_bytes() == Encoder(codec).encode(image, 90, effort=0)
        opened = decant.open(tmp_path / "a.dcn")
        assert opened.shape == (90, 130, 4)
        assert psnr_db(opened[:, :, :3], np.asarray(image)[:, :, :3]) > 25
        decant.save(tmp_path / "b.dcn", np.asarray(photo()), codec, target_bpp=1.5)
        assert 8 * (tmp_path / "b.dcn").stat().st_size <= 1.5 * 130 * 90

    def test_opening_the_module_costs_no_coder(self):
        code = "import sys, decant; decant.Decoder, decant.Encoder; print('constriction' in sys.modules)"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert said.stdout == "False\n"
