"""docs/format/archive.md says what is written, byte for byte."""

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from archive_pictures import NANO
from decant import archive
from decant.archive import schema

SMALL = NANO.parent / "small"
PAGE = (Path(__file__).parents[3] / "docs" / "format" / "archive.md").read_text()


def rows_of(heading: str) -> dict[str, str]:
    """The first table below a heading: first cell -> second."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (.+?) \| (.+?) \|", section, re.MULTILINE)
    return dict(cells[1:])


def test_the_page_names_every_column():
    assert list(rows_of("Parts")) == [f"`{name}`" for name in schema.PART.names]
    assert list(rows_of("Index")) == [f"`{name}`" for name in schema.INDEX.names]
    types = {"int32": "int32", "int64": "int64", "string": "string", "timestamp[s]": "timestamp, seconds"}
    types |= {"fixed_size_binary[32]": "32 bytes"}
    for name, kind in rows_of("Parts").items():
        expected = types.get(str(schema.PART.field(name.strip("`")).type), "struct")
        assert kind == expected, name


def test_the_numbers_of_the_page_are_those_of_the_code():
    assert f"Schema version {schema.SCHEMA_VERSION}." in PAGE
    given = archive.PackSettings()
    assert f"at most {given.unit_rows * given.part_units:,} rows" in PAGE
    assert f"ends at {schema.ROW_GROUP_ROWS:,} rows" in PAGE
    assert f"reach {schema.ROW_GROUP_BYTES >> 20} MiB" in PAGE


def test_golden_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of ``small``, which no release has changed."""
    monkeypatch.setenv("DECANT_BUNDLES", str(SMALL))
    (tmp_path / "in").mkdir()
    golden_file = SMALL / "golden" / "000.dcn"
    shutil.copy(golden_file, tmp_path / "in" / "a.dcn")
    archive.pack(tmp_path / "in", tmp_path / "a", engine="serial", model=str(NANO))
    opened = archive.Archive(tmp_path / "a")
    [row] = pq.read_table(tmp_path / "a" / "part-00000.parquet").to_pylist()
    place = opened.at(0, 0)
    at_offset = (tmp_path / "a" / "part-00000.parquet").read_bytes()[place.offset - 4 : place.offset + 4]
    golden = {
        "`key`, `status`": f"`{row['key']}`, `{row['status']}`",
        "`width`, `height`, `bytes`": f"{row['width']}, {row['height']}, {row['bytes']}",
        "`model_id`": f"`{row['model_id']}`",
        "`payload_sha256`": f"`{row['payload_sha256'].hex()}`",
        "8 bytes before and at `offset`": f"`{at_offset.hex(' ')}`",
    }
    assert rows_of("Golden bytes") == golden
    assert row["image"]["bytes"] == golden_file.read_bytes()


def test_the_manifest_has_the_keys_of_the_page(packed: Path):
    import json

    named = {key for cell in rows_of("Manifest") for key in re.findall(r"`(\w+)`", cell)}
    assert set(json.loads((packed / "_manifest.json").read_bytes())) == named
