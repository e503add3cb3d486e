"""Pictures by content from what is installed: what is collected, that it comes out the same again, noise."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from decant_bench.common.metrics import psnr
from decant_bench.common.pictures import read_groups
from decant_bench.errors import BenchError
from decant_bench.test_pictures import camera, collect, rooms
from decant_bench.test_pictures import wheels as content_wheels
from PIL import Image


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WIDTH", 240), ("HEIGHT", 168), ("RAYS", 1)):  # at full size it takes minutes
            patch.setattr(rooms, name, value)
        yield _collect(tmp_path_factory)


def _collect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("content") / "pictures"
    run = CliRunner().invoke(main, ["bench", "content", "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("photos 6, faces 3")
    return out


def test_every_group_has_at_least_three_pictures_that_are_quick_to_measure(collected):
    found = read_groups(collected)
    groups = [picture.name.split("/")[0] for picture in found.pictures]
    assert set(groups) == set(collect.GROUPS)
    assert all(groups.count(group) >= 3 for group in collect.GROUPS)
    for picture in found.pictures:
        assert min(picture.pixels.shape[:2]) >= 161, picture.name  # what MS-SSIM needs
        assert max(picture.pixels.shape[:2]) <= collect.LONGEST, picture.name


def test_the_readme_names_every_file_its_source_and_its_licence(collected):
    text = (collected / "README.md").read_text()
    rows = re.findall(r"^\| (\S+\.png) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    files = sorted(path.name for path in collected.rglob("*.png"))
    assert sorted(name for name, _, _ in rows) == files
    assert all(about.strip() and licence.strip() for _, about, licence in rows)
    for picture in content_wheels.PICTURES:
        assert f"{picture.folder}/{picture.file}" in text


def test_the_same_seed_gives_the_same_pixels_and_another_does_not():
    def made(seed: int) -> dict[str, bytes]:
        chosen = ("book", "sheet", "contours", "cartoon", "chelsea_night", "coffee")
        return {one.name: one.make().tobytes() for one in collect.pieces(seed=seed) if one.name in chosen}

    first = made(0)
    assert first == made(0)
    other = made(1)
    assert [name for name in first if first[name] == other[name]] == ["coffee"]


def test_wheel_pictures_are_whole_unless_they_were_jpeg():
    assert content_wheels.named("chelsea").open().size == (451, 300)
    assert content_wheels.named("china").open().size == (384, 256)
    for picture in content_wheels.PICTURES:
        assert (picture.scale < 1) == picture.file.endswith(".jpg"), picture.file
    horse = np.asarray(content_wheels.named("horse").open())
    assert (horse[0, 0] == 255).all()  # transparent there


def test_a_grey_wall_has_the_noise_of_its_electrons():
    wall = np.full((256, 256, 3), 188, np.uint8)  # half of the light of white
    taken = camera.take(wall, camera.Exposure(white=1000), seed=3)
    assert taken.shape == wall.shape
    assert taken.dtype == np.uint8
    # Green pixels of the mosaic keep their own value: 500 electrons and the read noise.
    sites = taken[::2, 1::2, 1] / 255
    light = ((sites + 0.055) / 1.055) ** 2.4
    assert light.mean() == pytest.approx(0.5, abs=0.01)
    expected = np.sqrt(0.5 * 1000 + camera.READ_NOISE**2) / 1000
    assert light.std() == pytest.approx(expected, rel=0.05)


def test_less_light_is_more_noise_and_night_is_dark():
    scene = np.asarray(content_wheels.named("coffee").open())
    errors = [psnr(scene, camera.take(scene, exposure, 0)) for exposure in collect.NOISE]
    assert errors == sorted(errors, reverse=True)
    night = camera.take(scene, collect.NIGHT, 0)
    assert night.mean() < 0.5 * scene.mean()
    assert np.array_equal(night, camera.take(scene, collect.NIGHT, 0))


def test_own_photographs_join_their_groups(tmp_path):
    whole = content_wheels.named("astronaut").open()
    (tmp_path / "faces").mkdir()
    (tmp_path / "trip").mkdir()
    whole.crop((100, 0, 356, 256)).save(tmp_path / "faces/anna.png")
    whole.resize((1200, 1000)).save(tmp_path / "trip/beach.jpg")
    whole.crop((0, 0, 250, 250)).save(tmp_path / "small.jpg")
    made = {(one.group, one.name): one.make for one in collect.pieces(tmp_path) if "own" in one.name}
    assert sorted(made) == [
        ("faces", "own_faces_anna"),
        ("night", "own_small_night"),
        ("night", "own_trip_beach_night"),
        ("noise", "own_small_noise"),
        ("noise", "own_trip_beach_noise"),
        ("photos", "own_small"),
        ("photos", "own_trip_beach"),
    ]
    assert made["faces", "own_faces_anna"]().size == (256, 256)
    assert made["photos", "own_trip_beach"]().size == (720, 600)  # was a JPEG
    assert made["photos", "own_small"]().size == (250, 250)  # too small to be reduced
    assert made["noise", "own_trip_beach_noise"]().size == (720, 600)


def test_wrong_folders_are_refused(tmp_path, collected):
    with pytest.raises(BenchError, match="is not empty; give a new folder"):
        collect.collect(collected)
    (tmp_path / "in").mkdir()
    with pytest.raises(BenchError, match="holds no image file"):
        collect.pieces(tmp_path / "in")
    (tmp_path / "in/a.png").write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"a\.png cannot be read"):
        collect.collect(tmp_path / "out", tmp_path / "in")
    for suffix in ("png", "jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"in/a.{suffix}")
    with pytest.raises(BenchError, match="two pictures would be called own_a"):
        collect.pieces(tmp_path / "in")
