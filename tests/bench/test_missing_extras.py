"""Commands without the packages of their extra end in one line that names the extra."""

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from decant.commands import extras
from decant.errors import MissingExtraError

# Runs a command in a process that has none of the modules named.
WITHOUT = """
import sys
hidden = sys.argv.pop(1).split(",")

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from decant.commands.cli import main
main()
"""
BENCH = "skimage,sklearn,scipy,matplotlib,psutil,imagecodecs,jinja2"
TRAIN = "torch,pytorch_msssim,tqdm,matplotlib,skimage,sklearn"


def run(hidden: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, hidden, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("hidden", "arguments", "extra"),
    [
        (BENCH, ["bench", "latency", "{bundle}"], "bench"),
        (BENCH, ["bench", "quality", "{bundle}"], "bench"),
        (BENCH, ["bench", "rd", "--bundle", "{bundle}", "--out", "{out}"], "bench"),
        (BENCH, ["evaluate", "{bundle}", "--out", "{out}/report.html"], "bench"),
        (TRAIN, ["train", "set", "small", "--out", "{out}"], "train"),
        (
            TRAIN,
            ["train", "codec", "lite", "--images", "{bundle}", "--out", "{out}", "--steps", "1"],
            "train",
        ),
    ],
)
def test_one_line_names_the_extra(tiny: Path, tmp_path: Path, hidden: str, arguments: list[str], extra: str):
    done = run(hidden, *(argument.format(bundle=tiny, out=tmp_path) for argument in arguments))
    assert done.returncode == 1, done.stderr
    assert f"pip install 'decant-codec[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("decant: ")


def test_the_extra_is_one_that_holds_the_package():
    lines = requires("decant-codec") or []

    def said(module: str, package: str) -> str:
        error = extras.missing(ModuleNotFoundError("x", name=module), "decant c", package)
        assert isinstance(error, MissingExtraError)
        return str(error)

    assert "decant c needs scikit-learn, which is not installed" in said("sklearn.datasets", "decant_bench")
    assert "[bench]" in said("matplotlib.pyplot", "decant_bench")
    assert "[train]" in said("matplotlib.pyplot", "decant_train")
    assert "[train]" in said("torch", "decant_bench")
    assert "[bench]" in said("a_module_of_nobody", "decant_bench")
    assert "--force-reinstall decant-codec" in said("numpy", "")
    for module in ("torch", "pytorch_msssim", "imagecodecs", "jinja2", "onnx", "openvino"):
        extra = said(module, "").split("[")[1].split("]")[0]
        assert any(line.startswith(module.replace("_", "-")) and f'"{extra}"' in line for line in lines)
