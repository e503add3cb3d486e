"""Ten thousand damaged files: each decodes to a picture of the stated size or ends in our error, within a
memory limit and without a hang or a crash.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grid_tables
import numpy as np
from damage import damaged, reseal, split
from decant.bundles.bundle import Bundle
from decant.codec.layout import GridLayout
from decant.formats import alpha, container

SCRIPT = Path(__file__).parent / "decode_damaged.py"
SEED = 20261121


def decode_damaged(bundle: Path, folder: Path, count: int) -> dict[str, int]:
    """How ``count`` decodes ended, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path)), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, str(SCRIPT), str(bundle), str(folder), str(count), str(SEED)]
    run = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    ends: dict[str, int] = json.loads(run.stdout)
    return ends


def pictures(codec: Path) -> list[bytes]:
    """Small files of all kinds: colour, grey, alpha of several methods, metadata, one and several groups; at
    the quality of which random symbols take the most bytes.
    """
    bundle = Bundle.open(codec)
    layout = bundle.layout
    assert isinstance(layout, GridLayout)
    model_id = bytes.fromhex(bundle.model_id)[:8]
    files = []
    for i, (width, height) in enumerate([(96, 80), (33, 50), (16 * layout.tile_side + 20, 40)]):
        payloads = {
            quality: grid_tables.encode_picture(layout, width, height, quality, seed=i, wild=i)[0]
            for quality in range(10, 101, 10)
        }
        quality = max(payloads, key=lambda quality: len(payloads[quality]))
        file = container.DcnFile(
            bundle.name, model_id, width, height, payloads[quality], quality, grey=i == 1
        )
        ramp = np.add.outer(np.arange(height), np.arange(width)) % 256
        planes = [np.where(ramp > 60, 255, 3).astype(np.uint8), ramp.astype(np.uint8)]
        for plane in (None, *map(alpha.pack, planes)):
            files.append(container.write(replace(file, alpha=plane, exif=b"Exif\0\0II*\0" if i else None)))
    return files


def test_ten_thousand_damaged_files_of_a_codec(codec: Path, tmp_path: Path):
    for i, data in enumerate(pictures(codec)):
        (tmp_path / f"{i}.dcn").write_bytes(data)
    ends = decode_damaged(codec, tmp_path, 10_000)
    assert ends["FormatError"] > 5_000
    # Not all of it is caught by checksums: the damage reaches what it aims at.
    assert ends["in a stream"] > 1_000
    assert ends["in the alpha plane"] > 100
    assert ends["pictures"] > 30


def test_damaged_files_of_one_size(tiny: Path, tmp_path: Path):
    for i, path in enumerate(sorted((tiny / "golden").glob("*.dcn"))):
        (tmp_path / f"{i}.dcn").write_bytes(path.read_bytes())
    ends = decode_damaged(tiny, tmp_path, 3_000)
    assert ends["FormatError"] > 1_500
    assert ends["pictures"] > 300


def test_the_damage_is_what_it_says(tiny: Path):
    """The same seed gives the same files; checksums are right in about half of those that differ."""
    data = (tiny / "golden/000.dcn").read_bytes()
    _, sections = split(data)
    assert [kind for kind, _ in sections] == [container.LATENTS]
    assert reseal(data) == data
    files = [damaged(data, np.random.default_rng((SEED, i))) for i in range(1_000)]
    assert files == [damaged(data, np.random.default_rng((SEED, i))) for i in range(1_000)]
    changed = [file for file in files if file != data]
    assert len(changed) > 900
    parsed = sum(accepted(container.parse, file) for file in changed)
    assert 200 < parsed < 600
    assert len({len(file) for file in files}) > 50


def accepted(parse: Callable[[bytes], object], data: bytes) -> bool:
    try:
        parse(data)
    except container.FormatError:
        return False
    return True
