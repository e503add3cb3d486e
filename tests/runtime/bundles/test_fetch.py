"""``decant models fetch``: one model from a mirror, a server on the loopback or a folder, checked."""

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import bundles
import pytest
from commands import decant, refusal, usage_error
from decant.bundles.bundle import Bundle, find_bundle
from decant.bundles.fetch import fetch
from decant.errors import BundleError, ModelNotFoundError


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def mirror(tiny: Path, tmp_path: Path) -> Path:
    """A folder that holds the bundle ``tiny`` as a mirror does."""
    folder = tmp_path / "mirror"
    shutil.copytree(tiny, folder / Bundle.open(tiny).model_id[:16])
    return folder


@pytest.fixture
def url(mirror: Path) -> Iterator[str]:
    """The URL of a server of ``mirror``."""
    handler = partial(_Quiet, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of bundles."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "decant" / "bundles"


def test_a_model_from_a_server_is_found_from_then_on(url: str, tiny: Path, data: Path) -> None:
    model_id = Bundle.open(tiny).model_id
    with pytest.raises(ModelNotFoundError):
        find_bundle("tiny", model_id)
    result = decant("models", "fetch", model_id[:16], "--from", url)
    assert result.exit_code == 0
    found = find_bundle("tiny", model_id)
    assert found.path.parent == data
    assert str(found.path) in result.stdout
    found.verify()
    assert sorted(path.name for path in data.iterdir()) == [found.path.name]
    assert fetch(model_id, url).path == found.path  # again: the same place


def test_the_mirror_may_be_a_folder_or_a_setting(
    mirror: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = Bundle.open(tiny).model_id
    made = fetch(model_id, str(mirror), into=tmp_path / "elsewhere")
    assert made.path.parent == tmp_path / "elsewhere"
    monkeypatch.setenv("DECANT_MIRROR", str(mirror))
    assert decant("models", "fetch", model_id).exit_code == 0


def test_nothing_is_fetched_without_a_mirror(tiny: Path, data: Path) -> None:
    message = refusal("models", "fetch", Bundle.open(tiny).model_id)
    assert "no mirror to fetch it from; give --from URL" in message
    assert not data.exists()


def test_a_model_that_the_mirror_has_not(url: str, mirror: Path) -> None:
    absent = "00" * 8
    assert f"{url}/{absent}/bundle.json: not on this mirror" in refusal(
        "models", "fetch", absent, "--from", url
    )
    assert "the mirror does not have this model" in refusal("models", "fetch", absent, "--from", mirror)


def test_what_is_asked_for_must_be_an_id_or_a_released_version(url: str) -> None:
    for asked in ("tiny", "lite@9.9", "abc", "../x", "lite@0123456789"):
        assert "a model id of 16 to 64 hexadecimal digits" in refusal("models", "fetch", asked, "--from", url)
    # A released version is asked for by its id.
    with pytest.raises(ModelNotFoundError, match=r"f8b691d4dbb05374/bundle\.json: not on this mirror"):
        fetch("lite@0.9", url)


def test_a_damaged_file_leaves_nothing(url: str, mirror: Path, tiny: Path, data: Path) -> None:
    model_id = Bundle.open(tiny).model_id
    victim = mirror / model_id[:16] / "synthesis.float.onnx"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    with pytest.raises(BundleError, match=r"synthesis\.float\.onnx: its SHA-256 differs"):
        fetch(model_id, url)
    victim.write_bytes(bytes(content) + b"more")
    with pytest.raises(BundleError, match="more than the"):
        fetch(model_id, url)
    victim.unlink()
    with pytest.raises(ModelNotFoundError, match=r"synthesis\.float\.onnx: not on this mirror"):
        fetch(model_id, url)
    assert list(data.iterdir()) == []


def test_another_model_than_the_one_asked_for(url: str, mirror: Path, tiny: Path) -> None:
    model_id = Bundle.open(tiny).model_id
    (mirror / model_id[:16]).rename(mirror / ("0" * 16))
    with pytest.raises(BundleError, match=f"gives model {model_id[:16]} where 0000000000000000 was asked"):
        fetch("0" * 16, url)


def test_a_forged_released_model_is_refused(mirror: Path, tiny: Path) -> None:
    """bundle.json may claim any id; model.json has to have that hash."""
    released = "f8b691d4dbb053744d2e0001ca5bf0e3bdf43caf536065a21494159842c8d9b2"
    folder = mirror / Bundle.open(tiny).model_id[:16]
    bundles.reseal(folder, lambda raw: raw.update(model_id=released))
    folder.rename(mirror / released[:16])
    with pytest.raises(BundleError, match="its SHA-256 is not the bundle's model id"):
        fetch(released, str(mirror))


def test_a_huge_bundle_is_refused_before_it_is_fetched(mirror: Path, tiny: Path) -> None:
    folder = mirror / Bundle.open(tiny).model_id[:16]

    def grow(raw: dict) -> None:
        raw["files"][0]["bytes"] = 1 << 40

    bundles.reseal(folder, grow)
    with pytest.raises(BundleError, match=r"at most 536870912 expected"):
        fetch(Bundle.open(tiny).model_id, str(mirror))


@pytest.mark.parametrize("place", ["ftp://host/x", "file:///etc"])
def test_other_urls_are_refused(place: str) -> None:
    with pytest.raises(BundleError, match="an http or https URL, or a folder, expected"):
        fetch("0" * 16, place)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(BundleError, match="cannot be fetched"):
        fetch("0" * 16, "http://127.0.0.1:9")


def test_options_of_the_list_are_none_of_fetch() -> None:
    assert "options go after fetch" in usage_error("models", "--json", "fetch", "0" * 16)


def test_models_lists_released_models_that_are_not_here(tiny: Path) -> None:
    listed = json.loads(decant("models", "--json", "--all", "--bundle-dir", tiny).stdout)
    assert listed[0]["name"] == "tiny"
    missing = {(model["name"], model["version"]): model for model in listed[1:]}
    assert missing["lite", "0.9.0"]["package"] == "decant-models-archive"
    assert {model["commercial_use"] for model in missing.values()} == {"yes", "no", "unclear"}
    assert missing["lite", "0.9.0"]["commercial_use"] == "no"
    assert missing["lite", "0.13.0"]["commercial_use"] == "yes"
    text = decant("models", "--all", "--bundle-dir", tiny).stdout
    assert "not here: decant-models-archive has it" in text
