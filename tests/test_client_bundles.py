"""Client bundles of the shipped codecs: as small as README and docs/compatibility.md say, and enough by
themselves.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decant import Decoder
from decant.bundles.bundle import Bundle
from decant.bundles.known_models import known_models
from decant.commands.cli import main
from decant.slim import PRECISIONS, slim
from shipped_codecs import SHIPPED, decoders

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "compatibility.md").read_text()
README = (ROOT / "README.md").read_text()
KINDS = [(runtime, precision) for runtime, precisions in PRECISIONS.items() for precision in precisions]
# Most bytes of a client bundle.
LARGEST = {"nano": 800_000, "lite": 850_000, "full": 1_550_000}
# What decant imports besides the standard library; a runtime of its own where the bundle needs one.
NEEDED = {"native": ("numpy", "numpy.libs", "PIL", "pillow.libs", "click", "safetensors", "constriction")}
NEEDED["onnxruntime"] = (*NEEDED["native"], "onnxruntime")
NEEDED["openvino"] = (*NEEDED["native"], "openvino")
PROGRAM = """
import sys
sys.path[:0] = [sys.argv[1]]
import numpy as np
import decant
from decant.bundles.bundle import search_folders, list_bundles
assert [bundle.name for bundle in list_bundles()] == [sys.argv[4]], search_folders()
np.save(sys.argv[3], decant.open(sys.argv[2], threads=1))
heavy = {"torch", "onnx", "decant_bundles", "decant_train", "decant_export"} & set(sys.modules)
assert not heavy, heavy
"""


def kinds_of(name: str) -> list[tuple[str, str]]:
    """The runtimes and precisions of the client bundles of a shipped codec."""
    have = {(runtime, precision.replace("float", "float32")) for runtime, precision in decoders(name)}
    return [kind for kind in KINDS if kind in have]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Client bundles of all shipped codecs for all runtimes and precisions that they have."""
    folder = tmp_path_factory.mktemp("clients")
    for name in LARGEST:
        for runtime, precision in kinds_of(name):
            slim(
                SHIPPED / name, folder / f"{name}-{runtime}-{precision}", runtime=runtime, precision=precision
            )
    return folder


@pytest.mark.parametrize("name", LARGEST)
def test_sizes_are_those_of_the_documentation(name: str, clients: Path) -> None:
    sizes = dict.fromkeys(KINDS, "none")
    for runtime, precision in kinds_of(name):
        bundle = Bundle.open(clients / f"{name}-{runtime}-{precision}")
        on_disk = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
        assert bundle.bytes == on_disk <= LARGEST[name]
        assert bundle.model_id == Bundle.open(SHIPPED / name).model_id
        sizes[runtime, precision] = f"{on_disk / 1e6:.2f} MB"
    heads = re.search(r"^\| model \| (native.*) \|$", PAGE, re.MULTILINE)
    assert heads
    assert heads[1].split(" | ") == [f"{runtime}, {precision}" for runtime, precision in KINDS]
    assert f"| `{name}` | {' | '.join(sizes.values())} |\n" in PAGE
    row = re.search(rf"^\| `{name}` \|.* \| (.*?) \|$", README, re.MULTILINE)
    assert row
    assert row[1] == sizes["native", "int16"]


def size_range() -> str:
    """The smallest and the largest native client bundle, of the table of docs/compatibility.md."""
    native = [float(re.search(rf"^\| `{name}` \| ([\d.]+) MB \|", PAGE, re.MULTILINE)[1]) for name in LARGEST]
    return f"{min(native):.1f} to {max(native):.1f} MB"


@pytest.mark.parametrize("runtime", PRECISIONS)
def test_a_client_bundle_decodes_where_nothing_else_is(runtime: str, clients: Path, tmp_path: Path) -> None:
    """The runtime's package, the packages that it needs, and the bundle."""
    site = tmp_path / "site"
    site.mkdir()
    for module in NEEDED[runtime]:
        package = Path(np.__file__).parents[1] / module
        if package.exists():  # the .libs are there on some systems
            (site / module).symlink_to(package)
    (site / "decant").symlink_to(ROOT / "runtime" / "decant")
    for name in LARGEST:
        precision = next(precision for of, precision in kinds_of(name) if of == runtime)
        client, source = clients / f"{name}-{runtime}-{precision}", Bundle.open(SHIPPED / name)
        file = source.path / source.golden[1].file
        run = [sys.executable, "-I", "-S", "-c", PROGRAM, str(site), str(file), str(tmp_path / "a.npy"), name]
        environment = {"DECANT_BUNDLES": str(client), "HOME": str(tmp_path)}
        done = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        stored = "float" if precision == "float32" else precision
        whole = Decoder(source, runtime=runtime, precision=stored, threads=1, check_golden="never")
        assert np.array_equal(np.load(tmp_path / "a.npy"), whole.decode(file.read_bytes()))


def test_the_page_lists_every_released_model() -> None:
    rows = []
    for model in known_models().values():
        versions, place = ", ".join(model.versions), "archive" if model.commit else "wheel"
        cells = (f"`{model.name}`", versions, f"`{model.model_id[:16]}`", model.commercial_use, place)
        rows.append(f"| {' | '.join(cells)} |")
    listed = re.findall(r"^\| `[\w-]+` \| [\d., ]+ \| `[0-9a-f]{16}` .*$", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(listed)


def test_the_first_screen_of_the_readme_answers_a_shop() -> None:
    first = "\n".join(README.splitlines()[:24])
    assert "| use the shipped models commercially | yes" in first
    assert "| open my files in ten years | yes" in first
    assert f"A client's decoder is {size_range()} with the runtime `native`" in first
    assert first.count("docs/compatibility.md") >= 2


def test_the_pages_agree_on_the_size_of_a_decoder() -> None:
    assert f"| {size_range()} a model with the runtime `native`" in PAGE
    assert f"a decoder is {size_range()} with the runtime `native`" in (ROOT / "docs/index.md").read_text()


def test_the_commands_for_a_client_work_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"^## Client bundles$.*?^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    lite = Bundle.open(SHIPPED / "lite")
    (tmp_path / "photo.dcn").write_bytes(lite.read(lite.golden[0].file))
    for line in block.splitlines():
        setting, _, command = line.rpartition("decant ")
        with monkeypatch.context() as patch:
            if setting:
                patch.setenv(*setting.strip().split("="))
            result = CliRunner().invoke(main, command.split())
        assert result.exit_code == 0, result.output
    assert (tmp_path / "photo.png").is_file()
