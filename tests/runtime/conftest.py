"""The runtime's tests bring their own bundles; those that ship in the wheel are out of their sight."""

import pytest


@pytest.fixture(autouse=True)
def _no_shipped_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decant.bundles.places.shipped_folders", list)
