"""A flipped bit anywhere is found, and all other pictures still unpack."""

import random
import shutil
from pathlib import Path

import pytest
from archive_pictures import SETTINGS, files_of, write_pictures
from decant import archive
from decant.errors import FormatError


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 12 pictures in two parts."""
    folder = tmp_path_factory.mktemp("small")
    write_pictures(folder / "in", 12)
    archive.pack(folder / "in", folder / "a", engine="serial", **{**SETTINGS, "part_units": 2})
    return folder / "a"


def flipped(place: Path, copy: Path, name: str, byte: int, bit: int) -> None:
    """A copy of an archive with one bit of one file flipped."""
    shutil.copytree(place, copy, copy_function=_link)
    data = bytearray((place / name).read_bytes())
    data[byte] ^= 1 << bit
    (copy / name).unlink()
    (copy / name).write_bytes(data)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def test_a_whole_archive_has_no_fault(small: Path):
    assert archive.verify(small, engine="serial") == []
    assert archive.verify(small, engine="local", workers=2) == []
    assert archive.verify(small, engine="serial", sample=0.2) == []


def test_damage_of_a_payload_is_named_by_key(small: Path, tmp_path: Path):
    opened = archive.Archive(small)
    place = opened.find("set1/0004.png")
    part = opened.manifest.parts[place.part].name
    flipped(small, tmp_path / "a", part, place.offset + place.length // 2, 3)
    faults = archive.verify(tmp_path / "a", engine="serial")
    assert any("SHA-256 is not the manifest's" in fault and part in fault for fault in faults)
    assert any(fault.startswith("set1/0004.png: ") for fault in faults)
    failures = archive.unpack(tmp_path / "a", tmp_path / "u", engine="serial", output="ppm")
    assert [line.split(":")[0] for line in failures] == ["set1/0004.png"]
    archive.unpack(small, tmp_path / "v", engine="serial", output="ppm")
    whole, left = files_of(tmp_path / "v"), files_of(tmp_path / "u")
    assert whole.pop("set1/0004.png.ppm")
    assert left == whole


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_anywhere_is_found_and_spares_the_others(small: Path, tmp_path: Path, seed: int):
    chance = random.Random(seed)
    files = {name: data for name, data in files_of(small).items() if not name.startswith("_bundle")}
    archive.unpack(small, tmp_path / "whole", engine="serial", output="ppm")
    whole = files_of(tmp_path / "whole")
    for number in range(12):
        name = chance.choice([*files, "part-00000.parquet", "part-00001.parquet"])
        copy = tmp_path / str(number)
        flipped(small, copy, name, chance.randrange(len(files[name])), chance.randrange(8))
        if name == "_manifest.json":
            with pytest.raises(FormatError, match=r"damaged|version"):
                archive.verify(copy, engine="serial")
            continue
        assert archive.verify(copy, engine="serial"), name
        failures = archive.unpack(copy, tmp_path / f"u{number}", engine="serial", output="ppm")
        left = files_of(tmp_path / f"u{number}")
        assert len(failures) <= 1
        assert len(left) == len(whole) - len(failures)
        assert left.items() <= whole.items()


def test_damage_of_the_decoder_is_found(small: Path, tmp_path: Path):
    name = next(name for name in files_of(small) if name.endswith("bundle.json"))
    flipped(small, tmp_path / "a", name, 20, 0)
    assert any("bundle.json" in fault for fault in archive.verify(tmp_path / "a", engine="serial"))


def test_a_lost_index_is_made_again_from_the_part(small: Path, tmp_path: Path):
    shutil.copytree(small, tmp_path / "a")
    (tmp_path / "a" / "_index" / "part-00001.parquet").unlink()
    assert archive.Archive(tmp_path / "a").payload(9) == archive.Archive(small).payload(9)
    faults = archive.verify(tmp_path / "a", engine="serial")
    assert any("_index/part-00001.parquet" in fault for fault in faults)


def test_a_lost_part_costs_its_own_pictures(small: Path, tmp_path: Path):
    shutil.copytree(small, tmp_path / "a")
    (tmp_path / "a" / "part-00001.parquet").unlink()
    failures = archive.unpack(tmp_path / "a", tmp_path / "u", engine="serial", output="ppm")
    assert len(failures) == archive.Archive(small).manifest.parts[1].rows
    assert len(files_of(tmp_path / "u")) == archive.Archive(small).manifest.parts[0].rows
    assert archive.verify(tmp_path / "a", engine="serial")
