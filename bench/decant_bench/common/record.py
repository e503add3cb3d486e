"""The JSON records of measurements: what every kind has in common, reading, writing, configuration hash.

Schema history
    1  first: latency, quality, grid; machine, versions, command, configuration and its hash, raw samples
    2  latency: rounds have the number of their process, and the machine its power state; blocks of a profile
       (schema/latency.schema.json)
"""

import hashlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decant.bundles.bundle import canonical_json
from decant.errors import DecantError
from decant.formats.paths import takes_paths

from decant_bench.common import machine
from decant_bench.errors import BenchError

SCHEMA = 2
READABLE = (1, 2)
_REQUIRED: dict[str, type] = {
    "schema": int,
    "kind": str,
    "created": str,
    "command": str,
    "config": dict,
    "config_hash": str,
    "machine": dict,
    "versions": dict,
    "rows": list,
}

Record = dict[str, Any]


def new(kind: str, config: Mapping[str, Any], command: str | None = None) -> Record:
    """A record without rows. ``config`` is all that decides what is measured, as plain data; ``command`` is
    that of this process unless given.

    Call it before measuring: the load average is that of now.
    """
    return {
        "schema": SCHEMA,
        "kind": kind,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command or command_line(),
        "config": dict(config),
        "config_hash": config_hash(config),
        "machine": machine.describe_machine(),
        "versions": machine.versions(),
        "rows": [],
    }


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a configuration: equal where the same work was measured in the same way."""
    return hashlib.sha256(canonical_json(config)).hexdigest()


def command_line() -> str:
    """The command of this process, as one would type it."""
    program, *arguments = sys.orig_argv if len(sys.orig_argv) > 1 else sys.argv
    name = Path(program).name
    if arguments and arguments[0].endswith(("/decant", "\\decant.exe")):
        name, arguments = "decant", arguments[1:]
    return shlex.join([name, *arguments])


@takes_paths
def write(record: Record, path: Path) -> None:
    """Write ``record`` as JSON; the file appears whole or not at all."""
    text = compact(record) + "\n"
    temporary = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def compact(value: Any) -> str:
    """JSON with an entry a line, but lists of numbers, and of such lists, on one line. Raises ValueError for
    a number that is not finite.
    """
    lists: list[str] = []

    def held(found: Any) -> Any:
        if isinstance(found, Mapping):
            return {key: held(one) for key, one in found.items()}
        if not isinstance(found, list | tuple):
            return found
        if _is_numbers(found):
            lists.append(json.dumps(found, separators=(",", ":"), allow_nan=False))
            return f"\0{len(lists) - 1}\0"
        return [held(one) for one in found]

    text = json.dumps(held(value), indent=1, allow_nan=False)
    return re.sub(r'"\\u0000(\d+)\\u0000"', lambda match: lists[int(match[1])], text)


def _is_numbers(found: Any) -> bool:
    if isinstance(found, list | tuple):
        return all(_is_numbers(one) for one in found)
    return isinstance(found, int | float)


@takes_paths
def read(path: Path, kind: str) -> Record:
    """The record of ``kind`` in ``path``. Raises BenchError for none, or one of another kind or schema."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: not a JSON record: {error}") from None
    try:
        check(record, kind)
    except DecantError as error:
        raise BenchError(f"{path}: {error}") from None
    assert isinstance(record, dict)
    return record


def check(record: object, kind: str) -> None:
    """Raises BenchError when ``record`` is not one of ``kind`` in the schema of this version."""
    if not isinstance(record, dict) or "schema" not in record:
        raise BenchError("not a record of decant bench (no schema)")
    if record["schema"] not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise BenchError(f"schema {record['schema']!r}; this decant reads {known}; measure again with it")
    for key, wanted in _REQUIRED.items():
        if not isinstance(record.get(key), wanted):
            raise BenchError(f"{key} is missing or no {wanted.__name__}; the record is damaged")
    if record["kind"] != kind:
        raise BenchError(f"a record of kind {record['kind']!r}; {kind} expected")
    if config_hash(record["config"]) != record["config_hash"]:
        raise BenchError("its configuration hash is not that of its configuration: the record was edited")
