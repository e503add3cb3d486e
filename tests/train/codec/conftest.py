"""Coarser measurements that take less time."""

import pytest
from decant_train.codec import finetune, sensitivity, train, validation


@pytest.fixture
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarser bounds of the sensitivity."""
    monkeypatch.setattr(sensitivity, "PROBES", 6)


@pytest.fixture
def few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Principal components and validation of few crops."""
    monkeypatch.setattr(train, "PATCHES", 2000)
    monkeypatch.setattr(validation, "VALIDATION_CROPS", 2)
    monkeypatch.setattr(validation, "SCORED_AT", (2.0,))
    monkeypatch.setattr(finetune, "VALIDATION_CROPS", 2)
