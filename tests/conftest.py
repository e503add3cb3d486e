"""What every test shares: nothing is read from or written to the user's own folders."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Cores are shared while tests run: how long one example takes says nothing.
settings.register_profile("decant", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("decant")


@pytest.fixture(autouse=True, scope="session")
def _own_user_folders(tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        patch.delenv("DECANT_BUNDLES", raising=False)
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small real bundle (tests/helpers/bundles.py); not to be changed."""
    import bundles

    return bundles.build(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def tiny_copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small codec bundle (tests/helpers/codec_bundle.py), called ``codec``; not to be
    changed.
    """
    import codec_bundle

    return codec_bundle.write(tmp_path_factory.mktemp("codecs"))
