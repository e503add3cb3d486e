"""What encoding a large picture takes: memory grows by its pixels and latents only, whatever the effort."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PEAK = """
import sys
import tracemalloc
import numpy as np
import decant.codec.encoder as codec_encoder
from decant import Encoder
codec_encoder.ROUNDS = (0, 0, 2)
encoder = Encoder(sys.argv[1], runtime="onnxruntime", threads=1)
pixels = np.empty((int(sys.argv[2]), 1024, 3), np.uint8)
for row in range(len(pixels)):
    pixels[row] = (20 + row // 40 % 70 + np.arange(1024) // 8)[:, None]
tracemalloc.start()  # counts numpy's arrays; what a runtime's graphs take is that of one window
encoder.encode(pixels, 30, effort=2)
print(tracemalloc.get_traced_memory()[1] >> 20)
"""


def _peak_mib(bundle: Path, height: int) -> int:
    """Peak of the arrays of a process that encodes a picture of 1024 x ``height`` pixels, in MiB."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _PEAK, str(bundle), str(height)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def test_memory_grows_by_pixels_and_latents_only(lite_bundle: Path):
    """3 more tiles of 1024 x 1024 pixels have 12 MiB of latents. Arrays of the whole picture for refinement
    took 35 MiB a tile.
    """
    assert _peak_mib(lite_bundle, 5120) - _peak_mib(lite_bundle, 2048) < 60


@pytest.fixture
def lite_bundle() -> Path:
    return Path(__file__).parents[3] / "artifacts" / "decant_bundles" / "lite"
