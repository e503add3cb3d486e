"""Archives that somebody else made: every byte chosen, with right checksums."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_pictures import SETTINGS, files_of, write_pictures
from decant import archive
from decant.archive import manifest as manifests
from decant.errors import FormatError


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 4 pictures, one of them twice."""
    folder = tmp_path_factory.mktemp("honest")
    write_pictures(folder / "in", 3)
    shutil.copy(folder / "in/set0/0000.png", folder / "in/set2/again.png")
    archive.pack(folder / "in", folder / "a", engine="serial", **SETTINGS)
    return folder / "a"


def resealed(honest: Path, place: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy whose manifest is changed, and its checksum right."""
    shutil.copytree(honest, place)
    raw = json.loads((place / "_manifest.json").read_bytes())
    del raw["checksum"]
    change(raw)
    raw["checksum"] = manifests._checksum(raw)
    (place / "_manifest.json").write_text(json.dumps(raw))
    return place


MANIFESTS = {
    "part outside": lambda raw: raw["parts"][0].update(name="../part-00000.parquet"),
    "part absolute": lambda raw: raw["parts"][0].update(name="/etc/passwd"),
    "negative rows": lambda raw: raw["parts"][0].update(rows=-1),
    "rows as text": lambda raw: raw["parts"][0].update(rows="4"),
    "more rows": lambda raw: raw["parts"][0].update(rows=400),
    "part twice": lambda raw: raw["parts"].append(raw["parts"][0]),
    "unknown key": lambda raw: raw["parts"][0].update(extra=1),
    "bundle outside": lambda raw: raw["bundle"][0].__setitem__(0, "_bundle/../../x"),
    "bundle elsewhere": lambda raw: raw["bundle"][0].__setitem__(0, "part-00000.parquet"),
    "failures elsewhere": lambda raw: raw.update(failures=["../x", 1, "0" * 64]),
    "parts of another kind": lambda raw: raw.update(parts={"a": 1}),
    "another version": lambda raw: raw.update(schema_version=2),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_lie_are_refused(honest: Path, tmp_path: Path, name: str):
    place = resealed(honest, tmp_path / "a", MANIFESTS[name])
    with pytest.raises(FormatError):
        archive.Archive(place).payload(0)


INDEXES = {
    "offset below 0": ("offset", -5),
    "offset beyond the end": ("offset", 1 << 40),
    "length below 0": ("length", -1),
    "length of all": ("length", (1 << 31) - 1),
    "no length": ("length", None),
    "same as itself": ("same_as", "set0/0000.png"),
    "same as nothing": ("same_as", "nothing"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_that_lie_are_refused(honest: Path, tmp_path: Path, name: str):
    shutil.copytree(honest, tmp_path / "a")
    path = tmp_path / "a" / "_index" / "part-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    column, value = INDEXES[name]
    rows[0][column] = value
    if name == "same as itself":
        rows[0]["offset"] = None
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    with pytest.raises(FormatError):
        archive.Archive(tmp_path / "a").payload(0)
    assert archive.verify(tmp_path / "a", engine="serial")


def test_an_index_of_other_columns_is_made_again(honest: Path, tmp_path: Path):
    shutil.copytree(honest, tmp_path / "a")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a" / "_index" / "part-00000.parquet")
    assert archive.Archive(tmp_path / "a").payload(0) == archive.Archive(honest).payload(0)


@pytest.mark.parametrize("key", ["../out.png", "/out.png", "a/../../out.png", "..", "c:/out.png", "a\0b", ""])
def test_keys_never_lead_out_of_the_folder(honest: Path, tmp_path: Path, key: str):
    shutil.copytree(honest, tmp_path / "a")
    path = tmp_path / "a" / "_index" / "part-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["key"] = key
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    failures = archive.unpack(tmp_path / "a", tmp_path / "deep" / "u", engine="serial", output="ppm")
    assert any("leads out of the folder" in line for line in failures)
    assert not (tmp_path / "out.png.ppm").exists()
    assert len(files_of(tmp_path)) == len(files_of(tmp_path / "a")) + len(files_of(tmp_path / "deep" / "u"))
