"""Bundles that pretend to be a released one, and bundles that break the search path for the others."""

import hashlib
import json
import shutil
from pathlib import Path

import bundles
import numpy as np
import pytest
from click.testing import CliRunner
from decant.bundles.bundle import Bundle, find_bundle, list_bundles
from decant.bundles.shipped import checked_files, foreign_files, released
from decant.codec.entropy.scale_network import ScaleNetwork
from decant.commands.cli import main
from decant.errors import BundleError
from decant.formats import container
from decant.formats.manifest import parse_manifest, require_listed_once, seal

ARTIFACTS = Path(__file__).parents[2] / "artifacts/decant_bundles"
SHIPPED = sorted(path.parent.name for path in ARTIFACTS.glob("*/bundle.json"))


def beside(model: str, other: str, folder: Path) -> Path:
    """Bundle ``model``, unchanged but for its float synthesis, which is ``other``'s; all hashes right."""
    copy = folder / model
    shutil.copytree(ARTIFACTS / model, copy)
    source = ARTIFACTS / other / "synthesis.float.onnx"
    shutil.copy(source, copy / "synthesis.float.onnx")
    bundles.reseal(copy, lambda manifest: None, rehash=["synthesis.float.onnx"])
    return copy


@pytest.mark.parametrize("name", SHIPPED)
def test_the_table_lists_every_file_of_the_shipped_bundles(name: str):
    """After an export of shipped bundles: ``python -m decant.bundles.release``."""
    bundle = Bundle.open(ARTIFACTS / name)
    known = released()[bundle.model_id]
    assert known.name == name
    for entry in checked_files(bundle.manifest):
        folder = ARTIFACTS / (entry.of or name)
        assert hashlib.sha256((folder / entry.path).read_bytes()).hexdigest() in known.files
    assert foreign_files(bundle.manifest) == []


def test_another_synthesis_under_a_released_id_fails_verification(tmp_path: Path):
    copy = beside("lite", "nano", tmp_path)
    assert (copy / "model.json").read_bytes() == (ARTIFACTS / "lite/model.json").read_bytes()
    result = CliRunner().invoke(main, ["verify", str(copy)])
    assert result.exit_code == 1
    assert "has the model id of the released bundle lite" in result.output
    assert "synthesis.float.onnx" in result.output


@pytest.mark.parametrize("given", [False, True])
def test_it_never_shadows_the_released_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: bool
):
    copy = beside("lite", "nano", tmp_path / "user")
    if not given:
        monkeypatch.setenv("DECANT_BUNDLES", str(copy.parent))
    file = container.parse((ARTIFACTS / "lite/golden/000.dcn").read_bytes())
    found = find_bundle(file.name, file.model_id, copy.parent if given else None)
    assert found.path == ARTIFACTS / "lite"
    assert str(copy) in caplog.text
    assert copy not in [bundle.path for bundle in list_bundles(copy.parent if given else None)]


def test_an_unchanged_copy_may_lie_anywhere(tmp_path: Path):
    copy = shutil.copytree(ARTIFACTS / "lite", tmp_path / "lite")
    assert find_bundle("lite", bundle_dir=tmp_path).path == copy


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1E+400"])
def test_a_number_beyond_floats_is_named_and_other_bundles_work(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, number: str
):
    broken = shutil.copytree(tiny, tmp_path / "broken")
    text = (broken / "bundle.json").read_text()
    (broken / "bundle.json").write_text(text.replace('"floor_db": 40.0', f'"floor_db": {number}'))
    monkeypatch.setenv("DECANT_BUNDLES", str(tmp_path))
    for command in (["models"], ["info", str(tiny / "golden/000.dcn"), "--bundle-dir", str(tiny)]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    with pytest.raises(BundleError, match="beyond the numbers that can be stored"):
        Bundle.open(broken)
    assert len(list_bundles(tiny)) > 1


def test_a_broken_folder_of_the_models_name_does_not_stop_the_released_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "lite").mkdir()
    (tmp_path / "lite/bundle.json").write_text("{}")
    monkeypatch.setenv("DECANT_BUNDLES", str(tmp_path))
    assert find_bundle("lite").path == ARTIFACTS / "lite"
    assert str(tmp_path / "lite/bundle.json") in caplog.text


class CountingText(str):
    """A text that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        CountingText.compared += 1
        return str.__eq__(self, other)


def test_paths_are_compared_in_linear_time():
    count = 16_000
    require_listed_once([CountingText(f"file{i}") for i in range(count)], "bundle.json")
    assert CountingText.compared <= 4 * count


def test_many_files_are_read_and_too_many_are_refused(tiny: Path):
    manifest = json.loads((tiny / "bundle.json").read_bytes())
    entry = {"bytes": 0, "sha256": "0" * 64}
    manifest["files"] += [{"path": f"file{i}", **entry} for i in range(16_000)]
    assert len(parse_manifest(seal(manifest), "bundle.json").files) > 16_000
    manifest["files"] += [{"path": f"more{i}", **entry} for i in range(5_000)]
    with pytest.raises(BundleError, match="at most 20000 expected"):
        parse_manifest(seal(manifest), "bundle.json")


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), 2**30 + 1])
def test_a_bias_near_the_end_of_int32_is_refused(value: int):
    """In C the half that rounds is added in int32, where it wraps; numpy adds in int64."""
    weight = np.zeros((8, 4, 3, 3), np.int8)
    bias = np.zeros(8, np.int32)
    bias[3] = value
    with pytest.raises(BundleError, match=r"scale\.hidden_bias"):
        ScaleNetwork(weight, bias, np.zeros((16, 2), np.int8))
