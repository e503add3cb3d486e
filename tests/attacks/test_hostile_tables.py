"""Hostile tables.safetensors in bundles whose hashes are right."""

import json
import struct
from pathlib import Path

import bundles
import pytest
from click.testing import CliRunner
from decant.commands.cli import main


def tables(header: object, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no header"),
        (struct.pack("<Q", 2**63) + b"{}", "a header of 8 exabytes"),
        (tables(b"{" * 1000, b""), "a header that is no JSON"),
        (
            tables({"latent.step": {"dtype": "F32", "shape": [24], "data_offsets": [0, 96]}}, b""),
            "data that is not there",
        ),
        (
            tables(
                {"latent.step": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 96]}}, bytes(96)
            ),
            "a shape whose size overflows",
        ),
        (
            tables({"latent.step": {"dtype": "BF16", "shape": [48], "data_offsets": [0, 96]}}, bytes(96)),
            "a type that numpy has not",
        ),
        (
            tables({"latent.step": {"dtype": "F32", "shape": [24], "data_offsets": [0, 96]}}, bytes(96)),
            "right in form, and not the tables that model.json names",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_tables_are_refused(tmp_path: Path, data: bytes, reason: str):
    folder = bundles.build(tmp_path / "tiny", coding="uint", openvino=False)
    (folder / "tables.safetensors").write_bytes(data)
    bundles.reseal(folder, lambda m: None, rehash=["tables.safetensors"])
    arguments = [
        "decode",
        str(folder / "golden/000.dcn"),
        str(tmp_path / "out.png"),
        "--bundle-dir",
        str(folder),
    ]
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert "tables.safetensors: " in result.stderr
    assert result.stderr.count("\n") == 1
