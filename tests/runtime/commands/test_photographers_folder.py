"""A photographer's folder to .dcn files and back: every file of it is accounted for."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import decant
from decant.selection.golden import psnr_db
from PIL import Image, ImageCms
from soft_photos import photo

GPS, DATE, ORIENTATION = 0x8825, 36867, 0x0112


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures as they come from cameras, phones, scanners, a Mac's zip file and a broken card."""
    folder = tmp_path_factory.mktemp("work") / "photos"
    (folder / "sub").mkdir(parents=True)
    image = Image.fromarray(photo(130, 90))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(0x8769)[DATE] = "2020:01:02 03:04:05"
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.5)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(folder / "camera.jpg", quality=95, exif=exif, icc_profile=profile)
    image.save(folder / "scan.TIF", compression="tiff_lzw")
    image.save(folder / "edit.png")
    image.save(folder / "sub" / "web.webp", lossless=True)
    image.convert("L").save(folder / "sub" / "grey.png")
    # Both refused by name: more than 8 bits, another colour space.
    Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257).save(folder / "deep.png")
    image.convert("CMYK").save(folder / "print.jpg")
    for suffix in (".jpg", ".png"):
        image.save(folder / f"pair{suffix}")
    frames = [image.rotate(angle) for angle in (90, 180)]
    image.save(folder / "film.gif", save_all=True, append_images=frames)
    (folder / "broken.jpg").write_bytes((folder / "camera.jpg").read_bytes()[:3000])
    with zipfile.ZipFile(folder / "mac.zip", "w") as archive:
        archive.writestr("__MACOSX/._camera.jpg", b"\0\5\x16\7\0\2\0\0Mac OS X")
    with zipfile.ZipFile(folder / "mac.zip") as archive:
        archive.extractall(folder)
    (folder / "._camera.jpg").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "notes.txt").write_text("roll 12")
    return folder


def test_there_and_back(codec: Path, folder: Path, tmp_path: Path):
    coded, back = tmp_path / "coded", tmp_path / "back"
    common = ("--bundle-dir", codec, "--effort", 0)
    result = decant("encode", folder, coded, *common)
    assert result.exit_code == 1
    *failures, summary, last = result.stderr.splitlines()
    assert sorted(Path(line.split(": ")[1]).name for line in failures) == [
        "broken.jpg",
        "deep.png",
        "pair.jpg",
        "pair.png",
        "print.jpg",
    ]
    assert summary == (
        f"6 of 11 files written to {coded}; 5 skipped (macOS metadata: 2, not a picture: 2, "
        "unsupported format .heic: 1); 1 with more frames or pages, of which only the first was encoded"
    )
    assert last == "decant: 5 of 11 files failed"
    assert sum(path.is_file() for path in folder.rglob("*")) == 11 + 5

    result = decant("verify", coded, "--bundle-dir", codec)
    assert (result.exit_code, result.stderr) == (0, f"6 of 6 files in {coded} are whole\n")
    result = decant("decode", coded, back, "--bundle-dir", codec)
    assert (result.exit_code, result.stderr) == (0, f"6 of 6 files written to {back}\n")
    names = ["camera.png", "edit.png", "film.png", "scan.png", "sub/grey.png", "sub/web.png"]
    assert sorted(path.relative_to(back).as_posix() for path in back.rglob("*.*")) == names
    for name in ("edit.png", "scan.png", "sub/web.png", "film.png", "camera.png"):
        with Image.open(back / name) as image:
            assert psnr_db(np.asarray(image), photo(130, 90)) > 22, name
    with Image.open(back / "sub" / "grey.png") as image:
        assert image.mode == "L"
    with Image.open(back / "camera.png") as image, Image.open(folder / "camera.jpg") as original:
        exif = image.getexif()
        assert exif[ORIENTATION] == 6
        assert exif.get_ifd(0x8769)[DATE] == "2020:01:02 03:04:05"
        assert exif.get_ifd(GPS) == original.getexif().get_ifd(GPS)
        assert image.info["icc_profile"] == original.info["icc_profile"]

    # What is left after the pair has been told apart: three pictures that this codec does not hold.
    result = decant("encode", folder, tmp_path / "all", *common, "--keep-suffix")
    assert "8 of 11 files written" in result.stderr
    assert (tmp_path / "all" / "pair.jpg.dcn").exists()
    assert (tmp_path / "all" / "pair.png.dcn").exists()
    result = decant("encode", folder, tmp_path / "all", *common, "--keep-suffix", "--skip-existing")
    assert "0 of 3 files written" in result.stderr
    assert "existing: 8" in result.stderr
