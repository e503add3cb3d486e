"""Private names that gave way to the field's terms do not come back as identifiers."""

import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
GONE = {
    "Wish": "GraphRequest",
    "RunsOn": "RuntimeInfo",
    "Loaded": "SelectedGraph",
    "NeighbourMean": "CheckerboardMean",
    "NeighbourMeans": "CheckerboardMeans",
    "first_half": "anchor_positions",
    "ANCHORS": "RATE_POINTS",
    "Subject": "BenchmarkCase",
    "Contender": "CodecEntry",
}


def test_the_old_names_are_gone() -> None:
    found = []
    for folder in ("runtime", "train", "export", "bench", "studio", "tests", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
            names = {token.string for token in tokens if token.type == tokenize.NAME}
            found += [f"{path.relative_to(ROOT)}: {name}, now {GONE[name]}" for name in names & GONE.keys()]
    assert not found
