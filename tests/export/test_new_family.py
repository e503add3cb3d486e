"""A new family is a folder and a registration line a stage (docs/change_model.md): export, encode, decode."""

from pathlib import Path

import numpy as np
import pytest
from checkpoints_made import photos
from decant import Decoder, Encoder
from decant.verify import verify_bundle
from decant_export import ExportError, export
from decant_export.common import family as export_families
from decant_train.common import checkpoint as checkpoints
from decant_train.common import families as train_families


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint of a family that lives in the folder ``toy_family`` beside this test."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setitem(train_families.MODULES, "toy", "toy_family.model")
    monkeypatch.setitem(export_families.FAMILIES, "toy", "toy_family.family:ToyFamily")
    family = train_families.get("toy")
    config = family.sizes["small"]
    model = family.network(config)
    model.eval()
    checkpoints.save(tmp_path / "run", checkpoints.Checkpoint("toy", config, model))
    return tmp_path / "run"


def test_it_exports_encodes_and_decodes(toy: Path, tmp_path: Path) -> None:
    pictures = photos(8, 16)
    bundle = export(toy, tmp_path / "toy", images=pictures, golden=2, licence="CC0")
    assert (bundle.family, bundle.image, len(bundle.golden)) == ("toy", (16, 16), 2)
    forms = {(g.role, g.precision, g.runtime) for g in bundle.graphs}
    assert {("synthesis", "float", r) for r in ("onnxruntime", "openvino")} < forms
    assert ("synthesis", "int8", "onnxruntime") in forms  # any linear layer can be quantized
    assert all(finding.passed for finding in verify_bundle(bundle.path, threads=1))
    decoded = Decoder(bundle).decode(Encoder(bundle).encode(pictures[5]))
    blocks = pictures[5].reshape(2, 8, 2, 8, 3).mean(axis=(1, 3))
    assert np.abs(decoded - blocks.repeat(8, 0).repeat(8, 1)).max() <= 1.5


def test_it_is_told_which_options_it_has_not(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="family toy has no option part, pictures; leave it out"):
        export(toy, tmp_path / "toy", images=photos(2, 16), part="nano", pictures=3)
    with pytest.raises(ExportError, match="holds no latents of its set; give images"):
        export(toy, tmp_path / "toy")
