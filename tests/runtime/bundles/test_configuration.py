"""The settings of where models come from."""

from pathlib import Path

import pytest
from decant.bundles.bundle import search_folders
from decant.bundles.configuration import Configuration, configuration
from decant.errors import BundleError


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "decant" / "decant.toml"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return path


def test_without_a_file_nothing_is_set(settings: Path) -> None:
    assert configuration() == Configuration()


def test_folders_and_mirror(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.write_text('bundles = ["/srv/decant", "here"]\nmirror = "https://models.example.com"\n')
    folders = (Path("/srv/decant"), settings.parent / "here")
    assert configuration() == Configuration(folders, "https://models.example.com")
    assert search_folders()[:2] == list(folders)
    monkeypatch.setenv("DECANT_MIRROR", "/mnt/mirror")
    assert configuration().mirror == "/mnt/mirror"
    monkeypatch.setenv("DECANT_BUNDLES", "first")
    assert search_folders()[0] == Path("first")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"bundles = [", "not the TOML expected"),
        (b"\xff", "not the TOML expected"),
        (b"folders = []", "unknown key folders; bundles and mirror are known"),
        (b'bundles = "here"', "bundles must be a list of folders"),
        (b"bundles = [1]", "bundles must be a list of folders"),
        (b'bundles = [""]', "bundles must be a list of folders"),
        (b"mirror = 1", "mirror must be a URL, or a folder"),
    ],
)
def test_a_file_that_cannot_be_is_named(settings: Path, content: bytes, message: str) -> None:
    settings.write_bytes(content)
    with pytest.raises(BundleError, match=message) as raised:
        search_folders()
    assert str(settings) in str(raised.value)


def test_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_CONFIG", str(tmp_path / "mine.toml"))
    with pytest.raises(BundleError, match=r"mine\.toml: no such file; DECANT_CONFIG names it"):
        configuration()
    (tmp_path / "mine.toml").write_text('mirror = "x"')
    assert configuration().mirror == "x"
