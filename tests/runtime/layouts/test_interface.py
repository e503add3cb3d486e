"""The runtime asks a layout, never which layout it is."""

from pathlib import Path

import numpy as np
import pytest
from decant.layouts.registry import LAYOUTS

RUNTIME = Path(__file__).parents[3] / "runtime" / "decant"
CONCRETE = ("FixedLayout", "GridLayout", "CodecLayout", "VectorLayout", "LevelsLayout")


def test_concrete_layouts_are_named_in_their_own_folders_only() -> None:
    elsewhere = [
        path
        for path in RUNTIME.rglob("*.py")
        # Adaptation is of one layout.
        if path.relative_to(RUNTIME).parts[0] not in ("layouts", "codec", "adaptation")
    ]
    assert len(elsewhere) > 50
    naming = {f"{path.name}: {name}" for path in elsewhere for name in CONCRETE if name in path.read_text()}
    assert not naming


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_module_compares_the_name_of_a_layout(name: str) -> None:
    comparing = [
        path.name
        for path in RUNTIME.rglob("*.py")
        if any(f'{sign} "{name}"' in path.read_text() for sign in ("==", "!=", "in"))
    ]
    assert not comparing


def test_the_codec_takes_no_bare_latents(codec: Path) -> None:
    from decant import Decoder
    from decant.errors import BundleError

    with pytest.raises(BundleError, match="latents come in files only; use decode"):
        Decoder(codec).decode_latents(np.zeros((1, 128, 4, 4), np.float32))
