"""Files for the eye (``tune="iq"``): their gain in SSIMULACRA2; and that ``tune="psnr"`` stays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from decant import Decoder, Encoder, ImageError
from decant.codec import visual_encoder
from decant.codec.encoder import GridEncoder
from decant.codec.visibility import ChannelEffects, Visibility
from decant.commands.cli import main
from decant.formats import container
from decant.ssimulacra2 import ssimulacra2
from PIL import Image
from reference_encoder import file_by_squared_error
from released_models import released_model
from skimage import data

SHIPPED = Path(__file__).parents[3] / "artifacts" / "decant_bundles"


@pytest.fixture(scope="module")
def lite() -> Encoder:
    return Encoder(SHIPPED / "lite", threads=1)


@pytest.fixture(scope="module")
def squared(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """``lite`` 0.12.0, which was trained for the least squared error."""
    return Encoder(released_model("lite", "0.12.0", tmp_path_factory.mktemp("released")), threads=1)


@pytest.fixture(scope="module")
def grid(lite: Encoder) -> GridEncoder:
    assert isinstance(lite._pipeline, GridEncoder)
    return lite._pipeline


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return np.ascontiguousarray(data.chelsea()[100:260, 100:260])


@pytest.mark.parametrize("settings", [{}, {"quality": 30, "effort": 3}, {"quality": 80, "effort": 1}])
def test_psnr_gives_the_files_that_it_always_gave(lite: Encoder, cat: np.ndarray, settings: dict[str, Any]):
    assert lite.encode(cat, tune="psnr", **settings) == file_by_squared_error(lite, cat, **settings)


@pytest.mark.parametrize("effort", [0, 1])
def test_efforts_without_refinement_are_the_same_for_both(lite: Encoder, cat: np.ndarray, effort: int):
    files = [lite.encode(cat, 40, effort=effort, tune=tune) for tune in ("iq", "psnr")]
    assert files[0] == files[1]


def iq_gain(encoder: Encoder, pixels: np.ndarray) -> float:
    """Points of SSIMULACRA2 that ``iq`` gains over ``psnr`` in as many bytes."""
    plain = encoder.encode(pixels, 40, tune="psnr")
    seen = encoder.encode(pixels, target_bpp=8 * len(plain) / (160 * 160), tune="iq")
    decoder = Decoder(encoder.bundle, precision="float")
    assert len(seen) <= len(plain)
    return ssimulacra2(pixels, decoder.decode(seen)) - ssimulacra2(pixels, decoder.decode(plain))


def test_iq_scores_higher_in_as_many_bytes(squared: Encoder, cat: np.ndarray):
    assert iq_gain(squared, cat) > 0.5


def test_iq_scores_higher_with_a_model_trained_for_it_too(lite: Encoder, cat: np.ndarray):
    assert iq_gain(lite, cat) > 0


def test_a_picture_of_several_tiles_scores_as_its_tiles_do(
    lite: Encoder, grid: GridEncoder, cat: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    """Tiles of 4 x 4 latents: what lies around a tile is coded before or after it."""
    monkeypatch.setattr(visual_encoder, "SAMPLE_SIDE", 4)
    whole = lite.encode(cat, 40, tune="iq")
    monkeypatch.setattr(grid.layout, "tile_side", 4)
    tiled = lite.encode(cat, 40, tune="iq")
    decoded = grid._decode(tiled).pixels
    assert abs(ssimulacra2(cat, decoded) - ssimulacra2(cat, Decoder(lite.bundle).decode(whole))) < 5


@pytest.mark.parametrize(
    "shape", [(37, 52), (37, 52, 2), (37, 52, 4)], ids=["grey", "grey and alpha", "alpha"]
)
def test_grey_alpha_and_any_size(lite: Encoder, shape: tuple[int, ...]):
    pixels = np.random.default_rng(0).integers(100, 140, shape, dtype=np.uint8)
    assert Decoder(lite.bundle).decode(lite.encode(pixels, 30, tune="iq")).shape[:2] == (37, 52)


class TestTheTargetOfSsimulacra2:
    def test_is_the_lowest_quality_that_reaches_it(self, lite: Encoder, cat: np.ndarray):
        file = lite.encode(cat, target_ssimulacra2=60, effort=1)
        quality, decoder = container.parse(file).quality, Decoder(lite.bundle)
        assert ssimulacra2(cat, decoder.decode(file)) >= 60
        assert ssimulacra2(cat, decoder.decode(lite.encode(cat, quality - 1, effort=1))) < 60

    def test_that_cannot_be_met_is_an_error_that_says_the_most(self, lite: Encoder, cat: np.ndarray):
        with pytest.raises(ImageError, match=r"SSIMULACRA2 99\.5 cannot be met; quality 100 gives [89]\d\."):
            lite.encode(cat, target_ssimulacra2=99.5, effort=1)

    def test_needs_8_pixels_a_side(self, lite: Encoder, cat: np.ndarray):
        with pytest.raises(
            ImageError, match=r"x\.png: 160x7 pixels; SSIMULACRA2 needs 8 a side; give quality"
        ):
            lite.encode(cat[:7], source="x.png", target_ssimulacra2=50, effort=1)

    def test_does_not_count_what_alpha_hides(self, lite: Encoder, cat: np.ndarray):
        alpha = np.full((160, 160, 1), 255, np.uint8)
        alpha[:, 80:] = 0
        picture = np.concatenate([cat, alpha], 2)
        picture[:, 80:, :3] = np.random.default_rng(0).integers(0, 256, (160, 80, 3))
        lite.encode(picture, target_ssimulacra2=60, effort=1)  # noise alone would not reach it

    def test_by_command(self, tmp_path: Path, cat: np.ndarray):
        Image.fromarray(cat).save(tmp_path / "a.png")
        command = [
            "encode",
            str(tmp_path / "a.png"),
            str(tmp_path / "a.dcn"),
            "--model",
            str(SHIPPED / "lite"),
        ]
        result = CliRunner().invoke(main, [*command, "--target-ssimulacra2", "50", "--tune", "iq"])
        assert result.exit_code == 0
        assert ssimulacra2(cat, Decoder(SHIPPED / "lite").decode((tmp_path / "a.dcn").read_bytes())) >= 50


def test_an_unknown_tune_is_refused(lite: Encoder, cat: np.ndarray):
    with pytest.raises(ImageError, match=r"tune 'sharp'; iq or psnr expected"):
        lite.encode(cat, tune="sharp")


class TestVisibility:
    def test_the_gradient_is_that_of_the_measure(self, cat: np.ndarray):
        random = np.random.default_rng(1)
        errors, step = (random.normal(0, 0.05, cat.shape).astype(np.float32) for _ in range(2))
        shown = Visibility(cat)
        gradient, _ = shown.weighted(errors)
        more, less = (float(shown.weighted(errors + 0.1 * sign * step)[1].sum()) for sign in (1, -1))
        assert (more - less) / 0.4 == pytest.approx(float((gradient * step).sum()), rel=1e-3)

    def test_luma_counts_more_than_chroma_and_smooth_places_more_than_texture(self, cat: np.ndarray):
        flat = np.full((64, 64, 3), 128, np.uint8)
        textured = flat.copy()
        blocks = np.random.default_rng(0).integers(-60, 60, (16, 8, 1)).repeat(4, 0).repeat(4, 1)
        textured[:, 32:] += blocks.astype(np.uint8)
        wave = np.sin(np.arange(64) / 4)[None, :, None] * np.full((64, 1, 1), 0.02)
        luma, blue = wave * np.ones(3), wave * np.array([0, 0, 3**0.5])
        shown = Visibility(textured)
        seen = [shown.weighted(errors.astype(np.float32))[1] for errors in (luma, blue)]
        assert seen[0].sum() > 3 * seen[1].sum()
        assert seen[0][:, :1].sum() > 2 * seen[0][:, 3:].sum()

    def test_channels_of_luma_are_told_from_those_of_chroma(self, squared: Encoder):
        grid = squared._pipeline
        assert isinstance(grid, GridEncoder)
        shares = ChannelEffects.of(grid._load("synthesis_adjoint"), grid.layout.channels).shares
        luma, blue = shares[:, 0, 1], shares[:, 0, 2]
        assert (luma > 20 * blue).sum() > 100
        assert (blue > 3 * luma).sum() > 10
