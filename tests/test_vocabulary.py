"""Private names that gave way to the field's terms do not come back as identifiers.

Serialised keys and names of tensors are strings, and stay: ``stages`` and ``halves`` of model.json are
``channel_groups`` and ``checkerboard_groups`` in the code (``decant.codec.layout``).
"""

import io
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EVERYWHERE = ("runtime", "train", "export", "bench", "studio", "tests", "examples")
PRODUCT = ("runtime", "export")
# Old name, the field's term, the folders that are rid of it.
GONE = [
    ("Wish", "GraphRequest", EVERYWHERE),
    ("RunsOn", "RuntimeInfo", EVERYWHERE),
    ("Loaded", "SelectedGraph", EVERYWHERE),
    ("NeighbourMean", "CheckerboardMean", EVERYWHERE),
    ("NeighbourMeans", "CheckerboardMeans", EVERYWHERE),
    ("first_half", "anchor_positions", EVERYWHERE),
    ("ANCHORS", "RATE_POINTS", EVERYWHERE),
    ("Subject", "BenchmarkCase", EVERYWHERE),
    ("Contender", "CodecEntry", EVERYWHERE),
    ("encode_group", "encode_tile", EVERYWHERE),
    ("near_name", "mean_context_name", EVERYWHERE),
    ("half_name", "non_anchor_name", EVERYWHERE),
    ("Prices", "SymbolCosts", EVERYWHERE),
    ("forms", "logits", PRODUCT),
    ("letters", "symbols", PRODUCT),
    ("classes", "scale_indices", ("runtime",)),
    ("class_offset", "scale_offset", PRODUCT),
    ("hyper_class", "hyper_scale_index", PRODUCT),
    ("stages", "channel_groups", ("runtime",)),
    ("stage", "channel_group", ("runtime",)),
    ("halves", "checkerboard_groups", ("runtime",)),
    ("staged", "choose_symbols", PRODUCT),
    ("prices", "costs", PRODUCT),
    ("predicts", "prediction_channels", PRODUCT),
    ("distances", "residuals", PRODUCT),
    ("mend", "denoise", PRODUCT),
    ("turn_from", "retarget", EVERYWHERE),
    ("begin_with", "warm_start_from", EVERYWHERE),
    ("revive", "reinitialise_dead_units", EVERYWHERE),
    ("FinishOptions", "FinetuneOptions", EVERYWHERE),
    ("half_contexts", "checkerboard_contexts", EVERYWHERE),
    ("half_means", "checkerboard_means", EVERYWHERE),
    ("class_scale", "scale_of_index", EVERYWHERE),
    ("scale_to_class", "index_of_scale", EVERYWHERE),
    ("predicting", "prediction_inputs", EVERYWHERE),
    ("aims", "targets", ("train", "export")),
    ("forms", "scale_logits", ("train",)),
    ("halves", "checkerboard_groups", ("train",)),
    ("class_offset", "scale_offset", ("train",)),
    ("hyper_class", "hyper_scale_index", ("train",)),
]


@cache
def names_in(folder: str) -> dict[str, set[str]]:
    """The identifiers of every file."""
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        names = {token.string for token in tokens if token.type == tokenize.NAME}
        found[str(path.relative_to(ROOT))] = names
    return found


@pytest.mark.parametrize(("old", "new", "folders"), GONE, ids=[row[0] for row in GONE])
def test_the_old_names_are_gone(old: str, new: str, folders: tuple[str, ...]) -> None:
    files = {path: names for folder in folders for path, names in names_in(folder).items()}
    assert len(files) > 50
    assert not [f"{path}: {old}, now {new}" for path, names in files.items() if old in names]
