"""Metrics that would take minutes are left out, and nothing else."""

import numpy as np
import pytest
from decant_studio.work import figures


def test_large_and_small_pictures_do_without_slow_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    original = random.integers(0, 255, (40, 50, 3), np.uint8)
    decoded = original // 2
    whole = figures.figures(original, decoded, 500)
    assert whole["ssim"] is not None
    assert whole["bits_per_pixel"] == 2
    monkeypatch.setattr(figures, "SSIM_PIXELS", 1999)
    monkeypatch.setattr(figures, "SSIMULACRA2_PIXELS", 1999)
    large = figures.figures(original, decoded, 500)
    assert (large["ssim"], large["ssimulacra2"]) == (None, None)
    assert large["psnr_db"] == whole["psnr_db"]
    tiny = figures.figures(original[:7, :7], decoded[:7, :7], 10)
    assert (tiny["ssim"], tiny["ssimulacra2"]) == (None, None)


def test_equal_pictures_are_said_to_be_equal() -> None:
    pixels = np.full((20, 20, 3), 90, np.uint8)
    found = figures.figures(pixels, pixels, 10)
    assert (found["psnr_db"], found["equal"], found["ssim"]) == (None, True, 1.0)
