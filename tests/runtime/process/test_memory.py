"""What decoding one picture after the other asks of the system: memory is taken once and used again."""

import json
import os
import platform
import subprocess
import sys

import decant
import numpy as np
import pytest
from decant.libdcn import library

pytestmark = [
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc"),
    pytest.mark.skipif(library() is None, reason="the runtime native is not built here"),
]

# Page faults a decode of 512x512 pixels, after three decodes. The picture alone has 192 pages.
PROGRAM = """
import io, json, resource, sys
import decant, decant.pillow
import numpy as np
from PIL import Image

data = sys.stdin.buffer.read()
decoder = decant.Decoder("nano", threads=1)

def faults(decode):
    for _ in range(3):
        decode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        decode()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10

print(json.dumps({
    "decoder": faults(lambda: decoder.decode(data)),
    "open": faults(lambda: decant.open(data)),
    "plugin": faults(lambda: np.asarray(Image.open(io.BytesIO(data)))),
}))
"""


@pytest.fixture(scope="module")
def faults() -> dict[str, float]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    picture = np.add.outer(np.arange(512), np.arange(1536)).reshape(512, 512, 3).astype(np.uint8)
    data = decant.encode(picture, model="nano", effort=0)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, input=data, capture_output=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("way", ["decoder", "open", "plugin"])
def test_a_decode_takes_no_new_memory_from_the_system(faults: dict[str, float], way: str):
    assert faults[way] < 50
