"""Pictures made smaller, in shared code and by ``decant decode --max-size``."""

from pathlib import Path

import decant
import numpy as np
import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from decant.formats.fitting import fitted
from PIL import Image

BUNDLES = Path(__file__).parents[3] / "artifacts" / "decant_bundles"


@pytest.mark.parametrize(
    ("shape", "most", "expected"),
    [
        ((40, 60), 30, (20, 30)),
        ((60, 40), 30, (30, 20)),
        ((30, 30), 30, (30, 30)),
        ((1, 3000), 16, (1, 16)),
        ((5, 7), 1, (1, 1)),
    ],
)
def test_neither_side_is_longer(shape: tuple[int, int], most: int, expected: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), (10, 200, 90), np.uint8)
    small = fitted(pixels, most)
    assert small.shape == (*expected, 3)
    assert np.array_equal(small, np.broadcast_to(pixels[:1, :1], small.shape))


def test_hidden_colours_do_not_show() -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, :16] = (200, 100, 50, 255)
    pixels[:, 16:, 1] = 255  # green that nobody sees
    small = fitted(pixels, 8)
    seen = small[..., 3] > 8
    assert np.abs(small[seen][:, :3].astype(int) - (200, 100, 50)).max() <= 12


def test_the_command_makes_pictures_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_BUNDLES", str(BUNDLES))
    image = Image.effect_mandelbrot((60, 40), (-2, -1.5, 1, 1.5), 90).convert("RGB")
    source, target = tmp_path / "a.dcn", tmp_path / "a.png"
    source.write_bytes(decant.encode(image, "nano"))
    result = CliRunner().invoke(main, ["decode", str(source), str(target), "--max-size", "15"])
    assert result.exit_code == 0, result.output
    with Image.open(target) as made:
        assert made.size == (15, 10)
        assert np.array_equal(np.asarray(made), fitted(decant.open(source), 15))
    result = CliRunner().invoke(main, ["decode", str(source), str(target), "--max-size", "0"])
    assert result.exit_code == 2
