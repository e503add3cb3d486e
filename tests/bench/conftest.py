"""One small latency record for all tests that read one: the tiny bundle beside four codecs."""

from pathlib import Path
from typing import Any

import pytest
from decant.bundles.bundle import Bundle
from decant_bench.common.pictures import PictureSet, wheel_crops
from decant_bench.latency import measure as latency


@pytest.fixture(scope="session")
def crops16() -> PictureSet:
    """Four 16x16 crops of real photographs, the size of the tiny bundle."""
    return wheel_crops(4, 16)


@pytest.fixture(scope="session")
def quick() -> latency.Options:
    """As few rounds as keep every phase."""
    return latency.Options(
        codecs=("jpeg-q90", "png", "webp", "avif"),
        rounds=4,
        images_per_visit=2,
        visit_ms=0.5,
        min_samples=1,
        min_seconds=0,
        load_rounds=2,
        fresh_rounds=2,
        batch_rounds=2,
    )


@pytest.fixture(scope="session")
def latency_record(tiny: Path, crops16: PictureSet, quick: latency.Options) -> dict[str, Any]:
    """Measured once."""
    return latency.measure([Bundle.open(tiny)], crops16, quick, command="decant bench latency tiny")
