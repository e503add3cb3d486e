"""An install that only decodes: ``decant.open``, ``decant decode`` and the Pillow plugin need no runtime but
libdcn for a codec's file.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ctypes_dcn import BUNDLES, load
from decant import decode
from PIL import Image

GOLDEN = BUNDLES / "nano/golden/000.dcn"
# As if they were not installed.
BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("onnxruntime", "openvino", "safetensors", "constriction", "torch", "onnx"):
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Missing())
"""
PROGRAMS = {
    "open": "import decant, numpy; numpy.save(OUT, decant.open(FILE))",
    "command": "import decant.commands.cli as c; sys.argv = ['', 'decode', FILE, OUT + '.png']; c.main()",
    "pillow": "import decant.pillow; from PIL import Image; Image.open(FILE).save(OUT + '.png')",
}


def test_pillow_opens_without_numpy_once_the_golden_files_were_decoded(tmp_path: Path):
    load()
    text = (
        "import sys, decant.pillow\nfrom PIL import Image\n"
        f"image = Image.open({str(GOLDEN)!r})\nimage.load()\n"
        "print(image.size, image.mode, *[name for name in ('numpy', 'tomllib') if name in sys.modules])"
    )
    variables = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "DECANT_BUNDLES": str(BUNDLES)}
    said = [
        subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=True, env=variables
        )
        for _ in range(2)
    ]
    with Image.open(GOLDEN.with_suffix(".png")) as image:
        assert said[1].stdout == f"{image.size} RGB\n"
    assert said[0].stdout.endswith(" numpy\n")


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_a_codecs_file_opens_without_runtimes(program: str, tmp_path: Path):
    load()
    out = tmp_path / "out.npy" if program == "open" else tmp_path / "out"
    text = f"{BLOCKED}\nFILE, OUT = {str(GOLDEN)!r}, {str(out)!r}\n{PROGRAMS[program]}"
    variables = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PATH": "",
    }  # so that golden files are decoded too
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, env=variables
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = decode(GOLDEN.read_bytes())
    if program == "open":
        assert np.array_equal(np.load(out), expected)
    else:
        with Image.open(tmp_path / "out.png") as image:
            assert np.array_equal(np.asarray(image), expected)
