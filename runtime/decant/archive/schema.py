"""What the Parquet files of an archive hold (docs/format/archive.md, schema version 1)."""

import json
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
MANIFEST = "_manifest.json"
FAILURES = "_failures.parquet"
BUNDLE_FOLDER = "_bundle"
INDEX_FOLDER = "_index"
WORK_FOLDER = "_work"

# A row group ends at so many rows, or once its payloads reach so many bytes.
ROW_GROUP_ROWS = 1000
ROW_GROUP_BYTES = 4 << 20

ENCODED, STORED, DUPLICATE = "encoded", "stored", "duplicate"
STATUSES = (ENCODED, STORED, DUPLICATE)

_IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_COLUMNS = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("image", _IMAGE),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("bytes", pa.int64()),
    pa.field("model_id", pa.string()),
    pa.field("source_sha256", pa.binary(32)),
    pa.field("payload_sha256", pa.binary(32)),
    pa.field("source_bytes", pa.int64()),
    pa.field("date", pa.timestamp("s")),
    pa.field("status", pa.string(), nullable=False),
    pa.field("same_as", pa.string()),
]


def _described() -> dict[str, str]:
    """Schema metadata: the version, and what Hugging Face's ``datasets`` reads column types from."""
    plain = {
        field.name: {"dtype": _HUGGING_FACE[field.name], "_type": "Value"}
        for field in _COLUMNS
        if field.name != "image"
    }
    features: dict[str, Any] = {"key": plain.pop("key"), "image": {"_type": "Image"}, **plain}
    return {
        "decant.archive": str(SCHEMA_VERSION),
        "huggingface": json.dumps({"info": {"features": features}}, separators=(",", ":")),
    }


_HUGGING_FACE = {
    "key": "string",
    "width": "int32",
    "height": "int32",
    "bytes": "int64",
    "model_id": "string",
    "source_sha256": "binary",
    "payload_sha256": "binary",
    "source_bytes": "int64",
    "date": "timestamp[s]",
    "status": "string",
    "same_as": "string",
}

PART = pa.schema(_COLUMNS, metadata=_described())
INDEX = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("offset", pa.int64()),  # of the payload in the part file; null for a duplicate
        pa.field("length", pa.int32()),
        pa.field("same_as", pa.string()),
    ],
    metadata={"decant.archive": str(SCHEMA_VERSION)},
)
FAILED = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_sha256", pa.binary(32)),
        pa.field("error", pa.string(), nullable=False),
    ],
    metadata={"decant.archive": str(SCHEMA_VERSION)},
)
# What a worker writes for one unit: rows of PART, or of FAILED where ``error`` is given.
UNIT = pa.schema([*_COLUMNS, pa.field("source", pa.string()), pa.field("error", pa.string())])

_DICTIONARIES = ["width", "height", "model_id", "status"]
_ZSTD = ["key", "width", "height", "bytes", "model_id", "source_bytes", "date", "status", "same_as"]
_ENCODINGS = {
    "key": "DELTA_BYTE_ARRAY",
    "same_as": "DELTA_BYTE_ARRAY",
    "bytes": "DELTA_BINARY_PACKED",
    "source_bytes": "DELTA_BINARY_PACKED",
    "date": "DELTA_BINARY_PACKED",
    "image.bytes": "PLAIN",
    "image.path": "PLAIN",
    "source_sha256": "PLAIN",
    "payload_sha256": "PLAIN",
}


def part_options() -> dict[str, Any]:
    """Options of ParquetWriter for parts. Payloads and hashes are stored plain: they do not compress, and a
    payload then lies in the file as it is, to be read by its offset.
    """
    names = [name for name in (*_ZSTD, *_ENCODINGS) if name not in ("image",)]
    compression = {name: "ZSTD" if name in _ZSTD else "NONE" for name in names}
    return {
        "compression": compression,
        "use_dictionary": _DICTIONARIES,
        "column_encoding": _ENCODINGS,
        "write_statistics": ["key"],
        "write_page_index": True,
        "write_page_checksum": True,
        "data_page_version": "1.0",
        # Page boundaries that follow the content: a changed archive shares most of its pages with the old.
        "use_content_defined_chunking": {
            "min_chunk_size": 256 << 10,
            "max_chunk_size": 1 << 20,
            "norm_level": 0,
        },
    }


def index_options() -> dict[str, Any]:
    """Options of ParquetWriter for the index of a part."""
    return {
        "compression": "ZSTD",
        "use_dictionary": False,
        "column_encoding": {
            "key": "DELTA_BYTE_ARRAY",
            "same_as": "DELTA_BYTE_ARRAY",
            "offset": "DELTA_BINARY_PACKED",
            "length": "DELTA_BINARY_PACKED",
        },
        "write_statistics": ["key"],
        "write_page_checksum": True,
    }


def part_name(number: int) -> str:
    """The file name of a part."""
    return f"part-{number:05d}.parquet"


def index_name(part: str) -> str:
    """The index of the part file ``part``, by the archive's folder."""
    return f"{INDEX_FOLDER}/{part}"
