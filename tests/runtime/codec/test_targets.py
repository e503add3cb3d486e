"""Qualities, given or searched for; and the warning where none holds a picture."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decant import Decoder, Encoder, ImageError
from decant.codec.targets import highest
from decant.commands.cli import main
from decant.errors import DecantWarning, QualityWarning
from decant.formats import container
from decant.selection.golden import psnr_db
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from soft_photos import photo

SHIPPED = Path(__file__).parents[3] / "artifacts" / "decant_bundles"
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (96, 128, 3), dtype=np.uint8)
CHECKS = np.repeat((np.indices((96, 128)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None], 3, 2)


@given(st.integers(0, 100))
def test_the_highest_quality_that_fits_is_found_in_seven_steps(limit: int):
    tried: list[int] = []

    def fits(quality: int) -> bool:
        tried.append(quality)
        return quality <= limit

    assert highest(fits) == (limit or None)
    assert len(tried) <= 7


@pytest.fixture(scope="module")
def lite() -> Encoder:
    return Encoder(SHIPPED / "lite", threads=1)


class TestPicturesThatNoQualityHolds:
    @pytest.mark.parametrize("picture", [NOISE, CHECKS, CHECKS[:, :, 0]], ids=["noise", "checks", "grey"])
    @pytest.mark.parametrize(
        "settings", [{"quality": 100}, {"quality": 100, "effort": 0}, {"target_bpp": 200.0}, {}]
    )
    def test_are_warned_of(self, lite: Encoder, picture: np.ndarray, settings: dict[str, float]):
        with pytest.warns(
            QualityWarning, match=r"x\.png: decodes at \d+\.\d dB at quality .* PNG or lossless WebP"
        ):
            data = lite.encode(picture, source="x.png", **settings)
        assert container.parse(data).quality == settings.get("quality", 60 if not settings else 100)

    def test_the_psnr_is_right(self, lite: Encoder):
        with pytest.warns(QualityWarning) as caught:
            data = lite.encode(NOISE, 100)
        psnr = psnr_db(Decoder(SHIPPED / "lite", precision="float").decode(data), NOISE)
        assert f"decodes at {psnr:.1f} dB at quality 100" in str(caught[0].message)
        assert caught[0].filename == __file__
        assert issubclass(QualityWarning, DecantWarning)

    def test_a_target_beyond_them_is_an_error_that_says_what_to_do(self, lite: Encoder):
        with pytest.raises(
            ImageError, match=r"36\.0 dB cannot be met; quality 100 gives 1\d\.\d+ with the default"
        ):
            lite.encode(NOISE, target_psnr=36)

    @pytest.mark.filterwarnings("error")
    def test_photos_and_low_qualities_are_not(self, lite: Encoder):
        for quality in (1, 60, 100):
            lite.encode(photo(), quality)
        lite.encode(NOISE, 20)

    def test_the_command_says_it_on_stderr(self, tmp_path: Path):
        source, target = tmp_path / "noise.png", tmp_path / "noise.dcn"
        Image.fromarray(NOISE).save(source)
        result = CliRunner().invoke(
            main, ["encode", str(source), str(target), "--quality", "100", "--model", str(SHIPPED / "lite")]
        )
        assert result.exit_code == 0
        assert target.stat().st_size
        line = next(line for line in result.stderr.splitlines() if "no quality reproduces" in line)
        assert line.startswith(f"decant: {source}: decodes at 1")


def decoded_db(encoder: Encoder, decoder: Decoder, picture: np.ndarray, target: float) -> float:
    """PSNR of what ``target`` gives; infinite where the encoder says that it cannot be met."""
    try:
        data = encoder.encode(picture, target_psnr=target)
    except ImageError as error:
        return float("inf") if "with the default decoder" in str(error) else 0.0
    return psnr_db(decoder.decode(data), picture)


@pytest.mark.parametrize("target", [18.0, 26.0, 32.0])
def test_a_target_of_psnr_holds_for_the_default_decoder(lite: Encoder, target: float):
    """A saturated picture: int8 graphs and float ones need not agree on it."""
    picture = photo(128, 96).copy()
    picture[20:60, 30:90] = (0, 255, 0)
    picture[50:80, 60:120] = (255, 0, 255)
    assert decoded_db(lite, Decoder(SHIPPED / "lite"), picture, target) >= target
