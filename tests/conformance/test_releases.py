"""Every file of a released model decodes: docs/compatibility.md, one golden set per model in ``releases/``.

``expected.json`` has the SHA-256 of the symbols of each file (tests/helpers/golden_symbols.py): those of the
decoder of the release itself.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from decant import Decoder
from decant.bundles.bundle import Bundle, find_bundle
from decant.bundles.known_models import KnownModel, known_models
from decant.bundles.shipped import released
from decant.formats import container
from decant.verify import verify_bundle
from decant_export.earlier_models import earlier_models, write_wheel
from golden_symbols import symbols_sha256

ROOT = Path(__file__).parents[2]
RELEASES = Path(__file__).parent / "releases"
SHIPPED = ROOT / "artifacts" / "decant_bundles"
MODELS = {f"{model.name}-{model.versions[-1]}": model for model in known_models().values()}
GOLDEN = {path.parent.name: json.loads(path.read_bytes()) for path in RELEASES.glob("*/expected.json")}


def bundle_of(model: KnownModel, request: pytest.FixtureRequest) -> Bundle:
    if model.commit is None:
        return Bundle.open(SHIPPED / model.name)
    return Bundle.open(request.getfixturevalue("earlier") / model.model_id[:16])


def test_every_released_model_has_its_golden_files() -> None:
    golden = {(expected["model_id"], name.rsplit("-", 1)[0]) for name, expected in GOLDEN.items()}
    assert golden == {(model.model_id, model.name) for model in MODELS.values()}


@pytest.mark.parametrize("release", sorted(GOLDEN))
def test_files_of_a_release_decode_to_the_same_symbols(release: str, request: pytest.FixtureRequest) -> None:
    expected = GOLDEN[release]
    bundle = bundle_of(known_models()[expected["model_id"]], request)
    files = sorted((RELEASES / release).glob("*.dcn"))
    assert {file.name for file in files} == set(expected["symbols_sha256"])
    for file in files:
        data = file.read_bytes()
        assert bundle.model_id.startswith(container.parse(data).model_id.hex())
        assert symbols_sha256(bundle, data) == expected["symbols_sha256"][file.name], file


@pytest.mark.parametrize("model", earlier_models(), ids=str)
def test_earlier_decoders_give_their_golden_pixels(model: KnownModel, request: pytest.FixtureRequest) -> None:
    bundle = bundle_of(model, request)
    assert (bundle.name, bundle.version, bundle.model_id) == (model.name, model.versions[-1], model.model_id)
    findings = [finding for finding in verify_bundle(bundle.path, threads=1) if finding.passed is not None]
    assert [finding.passed for finding in findings] == [True, True]  # its files, and its synthesis


def test_files_find_their_earlier_model_by_id(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decant.bundles.places.earlier_folders", lambda: [earlier])
    file = container.parse((RELEASES / "lite-0.9.0" / "001.dcn").read_bytes())
    bundle = find_bundle(file.name, file.model_id)
    assert (bundle.name, bundle.version, bundle.path.parent) == ("lite", "0.9.0", earlier)
    assert Decoder(bundle, threads=1).decode_file(file).shape == (file.height, file.width, 3)
    assert find_bundle("lite").has("analysis")  # a name alone is the newest version
    assert find_bundle("lite@0.8").version == "0.8.0"
    # The same model, its graphs exported anew.
    assert find_bundle("lite@0.10").model_id == find_bundle("lite@0.12").model_id
    assert find_bundle("lite@0.12").model_id != find_bundle("lite").model_id


def test_the_wheel_of_earlier_decoders_installs_and_is_found(earlier: Path, tmp_path: Path) -> None:
    wheel = write_wheel(earlier, tmp_path / "dist", "1.2.3")
    again = write_wheel(earlier, tmp_path / "again", "1.2.3")
    assert wheel.read_bytes() == again.read_bytes()
    place = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(place), str(wheel)], check=True, capture_output=True)
    program = (
        f"import sys; sys.path.append({str(place)!r}); import decant; "
        f"print(decant.open({str(RELEASES / 'nano-0.7.0' / '000.dcn')!r}, threads=1).shape)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "(120, 200, 3)\n"


def test_shipped_bundles_are_in_the_table_of_models() -> None:
    """A training experiment cannot ship under a released name unnoticed."""
    shipped = [Bundle.open(path.parent) for path in sorted(SHIPPED.glob("*/bundle.json"))]
    for bundle in shipped:
        model = known_models()[bundle.model_id]
        assert (model.name, model.versions[-1]) == (bundle.name, bundle.version)
        assert model.commercial_use == bundle.manifest.raw["commercial_use"]
    # What no longer ships is found in the history.
    assert {model.model_id for model in MODELS.values() if model.commit is None} == {
        bundle.model_id for bundle in shipped
    }


def test_the_tables_of_files_and_of_models_name_the_same_models() -> None:
    """A bundle that never shipped leaves nothing in the table of released files."""
    assert {key: model.name for key, model in released().items()} == {
        key: model.name for key, model in known_models().items()
    }


def test_no_two_released_models_share_a_name_and_version() -> None:
    versions = [(model.name, version) for model in known_models().values() for version in model.versions]
    assert len(versions) == len(set(versions))
