"""A decoder written from docs/format/grid.md alone reads what the runtime writes."""

import json
import re
from pathlib import Path
from typing import Any

import grid_tables
import numpy as np
import pytest
import reference_decoder
from decant.codec.layout import GridLayout
from decant.formats import container
from safetensors.numpy import save_file

TABLE_ROWS = Path(__file__).parents[3] / "docs" / "format" / "grid.md"


@pytest.mark.parametrize(
    ("model", "width", "height", "runs"),
    [
        (grid_tables.grid_model(256, 64, 48, 64), 64, 64, grid_tables.recommended()),
        (grid_tables.grid_model(256, 64, 48, 64), 1, 1, {}),
        (grid_tables.grid_model(5, 3, 4, 16), 600, 310, {1: 2, 2: 7, 9: 1, 13: 3, 31: 20}),
        (grid_tables.grid_model(5, 3, 4, 20), 325, 641, {}),
        (
            grid_tables.grid_model(256, 64, 48, 64, channel_groups=(16, 48, 192), context_width=48),
            64,
            64,
            {1: 9},
        ),
        (grid_tables.grid_model(7, 3, 4, 16, channel_groups=(3, 4)), 330, 310, {2: 7, 31: 20}),
        (grid_tables.grid_model(9, 3, 4, 16, channel_groups=(1, 2, 1, 5), context_width=1), 17, 300, {}),
        (grid_tables.grid_model(6, 3, 4, 16, channel_groups=(1, 2, 3)), 1, 1, {}),
        (grid_tables.grid_model(6, 3, 4, 16, channel_groups=(1, 2, 3), halves=2), 265, 70, {}),
        (grid_tables.grid_model(6, 3, 4, 16, channel_groups=(1, 2, 3), mixed_width=7), 40, 270, {2: 7}),
        (
            grid_tables.grid_model(9, 3, 4, 16, channel_groups=(2, 3, 4), halves=3, mixed_width=3),
            300,
            90,
            {3: 9},
        ),
    ],
)
@pytest.mark.parametrize("quality", [1, 58, 100])
def test_it_reads_the_symbols_that_were_encoded(
    model: dict[str, Any], width: int, height: int, runs: dict[int, int], quality: int, tmp_path: Path
):
    tensors = grid_tables.grid_tensors(model, runs)
    layout = GridLayout.from_model(model, tensors)
    payload, z, symbols = grid_tables.encode_picture(layout, width, height, quality, seed=quality, wild=30)
    file = container.DcnFile("codec", bytes(8), width, height, payload, quality, exif=b"Exif")
    (tmp_path / "photo.dcn").write_bytes(container.write(file))
    (tmp_path / "model.json").write_text(json.dumps(model))
    save_file(tensors, tmp_path / "tables.safetensors")
    found_z, found = reference_decoder.decode(tmp_path / "photo.dcn", tmp_path)
    assert found_z == dict(np.ndenumerate(z))
    assert found == dict(np.ndenumerate(symbols))
    assert np.abs(symbols).max() > 127 or width == 1


def test_it_is_short_and_uses_the_standard_library_alone():
    source = Path(reference_decoder.__file__).read_text()
    assert len(source.splitlines()) <= 170
    imported = [line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert sorted(imported) == ["itertools", "json", "pathlib", "struct", "typing"]


def test_the_document_names_every_table():
    documented = TABLE_ROWS.read_text().rpartition("| tensor of tables.safetensors |")[2].split("\n\n")[0]
    named = [line.split("`")[1] for line in documented.splitlines() if line.startswith("| `")]
    of_the_encoder = {"quality.lambda", "synthesis.curvature", "synthesis.bound"}
    tables = grid_tables.grid_tensors(grid_tables.grid_model(channel_groups=(2, 4), halves=2, mixed_width=3))
    numbered = (re.sub(r"(context|near)\.\d", r"\1.i", name) for name in tables)
    assert sorted(named) == sorted({name.replace("i.half", "i") for name in numbered} | of_the_encoder)
