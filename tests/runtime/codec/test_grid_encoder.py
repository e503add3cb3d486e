"""Encoding with a codec: modes, settings and targets; quantization by rate and distortion; tiles."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from decant import Decoder, Encoder, ImageError, SizeLimitError
from decant.bundles.bundle import Bundle
from decant.codec import encoder as grid_encoder
from decant.codec.decoder import GridDecoder
from decant.codec.encoder import GridEncoder
from decant.codec.pixel_errors import ErrorMeasure
from decant.codec.quantization import quantized
from decant.codec.refinement import RefiningEncoder
from decant.errors import BundleError
from decant.formats import container
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle
from decant.selection.golden import psnr_db
from PIL import Image
from soft_photos import photo


@pytest.fixture(scope="session")
def encoder(codec: Path) -> Encoder:
    return Encoder(codec)


@pytest.fixture(scope="session")
def decoder(codec: Path) -> Decoder:
    return Decoder(codec, precision="float")


@pytest.fixture(scope="session")
def grid(encoder: Encoder) -> GridEncoder:
    assert isinstance(encoder._pipeline, GridEncoder)
    return encoder._pipeline


def bits_per_pixel(data: bytes, picture: np.ndarray) -> float:
    return 8 * len(data) / (picture.shape[0] * picture.shape[1])


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "grey", "alpha"),
        [
            ("RGB", False, False),
            ("P", False, False),
            ("L", True, False),
            ("1", True, False),
            ("RGBA", False, True),
            ("PA", False, True),
            ("LA", True, True),
        ],
    )
    def test_what_becomes_of_each(self, encoder: Encoder, mode: str, grey: bool, alpha: bool):
        image = Image.fromarray(photo()).convert({"PA": "P"}.get(mode, mode))
        if alpha:
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        assert image.mode == mode
        data = encoder.encode(image)
        file = container.parse(data)
        assert (file.grey, file.alpha is not None) == (grey, alpha)
        wanted = {(True, False): "L", (True, True): "LA", (False, False): "RGB", (False, True): "RGBA"}
        pixels = np.asarray(image.convert(wanted[grey, alpha]))
        if pixels.ndim == 3 and pixels.shape[2] == 2:  # which no array stands for
            assert encoder.encode(Image.fromarray(pixels)) == data
        else:
            assert encoder.encode(pixels) == data
            assert encoder.encode(np.asfortranarray(pixels)) == data

    @pytest.mark.parametrize("mode", ["RGB", "L", "P"])
    def test_a_transparent_colour_becomes_alpha(self, encoder: Encoder, decoder: Decoder, mode: str):
        image = Image.fromarray(photo(20, 10)).convert(mode)
        image.paste(image.getpixel((0, 0)), (4, 2, 9, 8))
        stream = io.BytesIO()
        image.save(stream, "PNG", transparency=image.getpixel((0, 0)))
        with Image.open(stream) as opened:
            assert opened.mode == mode
            data = encoder.encode(opened)
            expected = np.asarray(opened.convert("RGBA"))[:, :, 3]
        assert np.array_equal(decoder.decode(data)[:, :, 3], expected)
        assert not expected[2:8, 4:9].any()
        assert (expected == 255).any()
        assert container.parse(data).grey == (mode == "L")

    @pytest.mark.parametrize("mode", ["CMYK", "LAB", "I", "F", "I;16"])
    def test_other_colour_spaces_and_depths_are_refused(self, encoder: Encoder, mode: str):
        with pytest.raises(ImageError, match=rf"photo\.x: mode {mode}(;| of 16 bits;) .* expected"):
            encoder.encode(Image.new(mode, (16, 16)), source="photo.x")

    @pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
    def test_16_bits_are_refused_though_pillow_opens_them_as_8(
        self, encoder: Encoder, colour_type: int, channels: int
    ):
        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        rows = b"".join(b"\x00" + bytes(16 * 2 * channels) for _ in range(16))
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, colour_type, 0, 0, 0))
        png += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        with Image.open(io.BytesIO(png)) as image, pytest.raises(ImageError, match="of 16 bits"):
            encoder.encode(image)

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((16, 16, 5), np.uint8),
            np.zeros((16, 16, 3), np.float32),
            np.zeros((1, 16, 16, 3), np.uint8),
            np.zeros((0, 16, 3), np.uint8),
            np.zeros((16, 16), np.uint16),
        ],
    )
    def test_arrays_that_are_no_picture(self, encoder: Encoder, array: np.ndarray):
        message = r"uint8 \(height, width\), or \(height, width, n\) with n of 1 to 4"
        with pytest.raises(ImageError, match=message):
            encoder.encode(array)

    def test_the_size_limit(self, codec: Path):
        for picture in (np.zeros((16, 16), np.uint8), Image.new("RGBA", (16, 16))):
            with pytest.raises(SizeLimitError, match="16x16 pixels; the limit is 255"):
                Encoder(codec, size_limit=255).encode(picture)

    def test_metadata_is_kept_and_nothing_is_turned(self, encoder: Encoder, decoder: Decoder):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        stream = io.BytesIO()
        Image.fromarray(photo(40, 20)).save(
            stream, "WEBP", lossless=True, exif=exif.tobytes(), icc_profile=b"profile", xmp=b"<x/>"
        )
        with Image.open(stream) as image:
            data = encoder.encode(image)
        file = container.parse(data)
        assert file.exif is not None
        assert file.exif.endswith(exif.tobytes()[6:])
        assert (file.icc, file.xmp) == (b"profile", b"<x/>")
        assert decoder.decode(data).shape == (20, 40, 3)


class TestSettings:
    def test_the_default_is_quality_60_at_effort_2(self, encoder: Encoder):
        data = encoder.encode(photo())
        assert container.parse(data).quality == 60
        assert data == encoder.encode(photo(), 60, effort=2) != encoder.encode(photo(), 60, effort=1)

    def test_effort_gives_more_for_what_it_costs(self, encoder: Encoder, decoder: Decoder):
        """Bits + lambda x error, which a quality stands for."""
        picture = photo()
        lambdas = encoder.bundle.tables["quality.lambda"]
        for quality in (20, 50):
            costs = []
            for effort in (0, 1, 2, 5):
                data = encoder.encode(picture, quality, effort=effort)
                mse = 255**2 / 10 ** (psnr_db(decoder.decode(data), picture) / 10)
                costs.append(bits_per_pixel(data, picture) + lambdas[quality - 1] * mse)
            assert costs[0] > costs[1] > costs[2], quality
            assert costs[3] < 1.001 * costs[2], quality

    @pytest.mark.parametrize("quality", [2, 40, 99])
    def test_a_target_of_bits(self, encoder: Encoder, quality: int):
        picture = photo()
        target = bits_per_pixel(encoder.encode(picture, quality), picture) + 1e-6
        data = encoder.encode(picture, target_bpp=target)
        assert bits_per_pixel(data, picture) <= target
        assert container.parse(data).quality >= quality
        above = encoder.encode(picture, container.parse(data).quality + 1)
        assert bits_per_pixel(above, picture) > target

    def test_a_target_of_bits_counts_alpha_and_metadata(self, encoder: Encoder):
        image = Image.fromarray(photo())
        without = encoder.encode(image, target_bpp=0.8)
        dots = np.random.default_rng(0).integers(0, 4, (40, 60), np.uint8)
        image.putalpha(Image.fromarray(dots).resize(image.size, Image.Resampling.NEAREST))
        image.info["exif"] = bytes(500)
        data = encoder.encode(image, target_bpp=0.8)
        assert 8 * len(data) <= 0.8 * 300 * 200
        assert container.parse(data).quality < container.parse(without).quality

    @pytest.mark.parametrize("quality", [2, 30, 70])
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
    def test_a_target_of_psnr(self, encoder: Encoder, codec: Path, quality: int, mode: str):
        """It holds for the default decoder: the integer one where the C module is, the int8 one elsewhere."""
        decoder = Decoder(codec)
        assert decoder.precision in ("int16", "int8")
        image = Image.fromarray(photo()).convert(mode)

        def psnr(data: bytes) -> float:
            return psnr_db(decoder.decode(data)[:, :, :3], np.asarray(image.convert("RGB")))

        target = psnr(encoder.encode(image, quality)) - 1e-6
        data = encoder.encode(image, target_psnr=target)
        found = container.parse(data).quality
        assert psnr(data) >= target
        assert found == 1 or psnr(encoder.encode(image, found - 1)) < target

    def test_targets_that_cannot_be_met(self, encoder: Encoder):
        with pytest.raises(ImageError, match=r"x\.png: 0\.001 bits per pixel cannot be met; quality 1 "):
            encoder.encode(photo(), source="x.png", target_bpp=0.001)
        with pytest.raises(ImageError, match=r"90\.0 dB cannot be met; quality 100 gives [23]\d\."):
            encoder.encode(photo(), target_psnr=90)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"quality": 0}, "quality 0; a whole number from 1 to 100 expected"),
            ({"quality": 101}, "quality 101; a whole number from 1 to 100 expected"),
            ({"effort": 10}, "effort 10; a whole number from 0 to 9 expected"),
            ({"effort": -1}, "effort -1; a whole number from 0 to 9 expected"),
            ({"target_bpp": 0.0}, "target_bpp 0.0; a positive number expected"),
            ({"target_psnr": float("nan")}, "target_psnr nan; a positive number expected"),
            (
                {"quality": 50, "target_bpp": 1.0},
                "give one of quality, target_bpp, target_psnr and target_ssimulacra2",
            ),
            (
                {"target_psnr": 30.0, "target_bpp": 1.0},
                "give one of quality, target_bpp, target_psnr and target_ssimulacra2",
            ),
        ],
    )
    def test_settings_that_cannot_be(self, encoder: Encoder, settings: dict[str, float], message: str):
        with pytest.raises(ImageError, match=rf"a\.png: {message}"):
            encoder.encode(photo(), source="a.png", **settings)


class TestCorrection:
    def test_it_is_the_way_down(self, grid: GridEncoder):
        """Along it, what the decoder makes comes nearer to the picture, at the rate that it says."""
        picture = Picture(photo(90, 70))
        analysed, measure = grid.analyse(picture), ErrorMeasure(picture)
        outer = Rectangle(0, analysed.shape.h, 0, analysed.shape.w).finer(16)
        mean, step = np.zeros_like(analysed.y)[None], np.ones((1, grid.layout.channels, 1, 1), np.float32)
        synthesis, adjoint = grid._load("synthesis"), grid._load("synthesis_adjoint")

        def errors(y: np.ndarray) -> tuple[np.ndarray, float]:
            lacking, squared = measure.errors_in(synthesis.run(y[None], mean, step)[0], outer)
            return lacking, float(squared.sum()) / 255**2

        y = analysed.y * np.float32(0.9)
        lacking, before = errors(y)
        correction = adjoint.run(y[None], lacking[None])[0]
        descent = 0.5 * correction / grid.bound[:, None, None]
        gain, slope = before - errors(y + descent)[1], float((correction * descent).sum())
        assert gain > 0
        assert gain >= 0.9 * slope  # what a step within the bound promises, but for rounding

    def test_it_knows_the_latents_that_a_decoder_has(self, grid: GridEncoder):
        """Of each tile, but for what predictions take from the tile beside it."""
        picture = Picture(np.tile(photo(), (1, 4, 1)))
        analysed, measure = grid.analyse(picture), ErrorMeasure(picture)
        tools = grid, grid._load("synthesis_adjoint"), grid._load("synthesis")
        hyper = grid.hyper_part(analysed, 100)
        work = RefiningEncoder(*tools, picture, measure, analysed, hyper, rounds=0)
        refined = work.run()
        assert len(analysed.shape.tiles) == 2
        file = container.DcnFile("x", bytes(8), picture.width, picture.height, refined.latents, 100)
        decoded = GridDecoder(grid.layout, grid.hyper_mean, tools[2]).decode(file)
        assert abs(psnr_db(decoded, picture.pixels) - refined.psnr_db) < 0.02

    def test_pixels_beyond_the_picture_do_not_count(self):
        grey = np.full((20, 20, 3), 100, np.uint8)
        shown = np.full((32, 32, 3), 100, np.uint8)
        shown[20:] = shown[:, 20:] = 0
        lacking, squared = ErrorMeasure(Picture(grey)).errors_in(shown, Rectangle(0, 32, 0, 32))
        assert not lacking.any()
        assert not squared.any()

    @pytest.mark.parametrize("missing", ["quality.lambda", "synthesis.curvature"])
    def test_without_its_tables_nothing_is_encoded(self, codec: Path, missing: str):
        bundle = Bundle.open(codec)
        bundle.tables = {name: table for name, table in bundle.tables.items() if name != missing}
        with pytest.raises(BundleError, match=rf"{missing} is not float32 \(\d+,\)"):
            Encoder(bundle)

    def test_a_bundle_without_bounds_takes_curvatures(self, codec: Path):
        bundle = Bundle.open(codec)
        bundle.tables = {name: table for name, table in bundle.tables.items() if name != "synthesis.bound"}
        model = Encoder(bundle)._pipeline
        assert model is not None
        np.testing.assert_array_equal(model.bound, model.curvature)

    def test_steps_that_go_too_far_are_halved(
        self, encoder: Encoder, grid: GridEncoder, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
    ):
        """With bounds 3 times too small, many rounds still find what costs less than the first file."""
        pixels = photo(96, 96)

        def cost(effort: int) -> float:
            data = encoder.encode(pixels, 70, effort=effort)
            errors = np.square(decoder.decode(data).astype(float) - pixels).mean()
            return bits_per_pixel(data, pixels) + float(grid.lambdas[69] * errors)

        monkeypatch.setattr(grid, "bound", grid.bound / 3)
        assert cost(5) < 0.98 * cost(1)


class TestQuantization:
    @pytest.fixture
    def bits(self, grid: GridEncoder) -> np.ndarray:
        return grid.layout.entropy.cost_bits()

    def test_no_candidate_costs_less(self, bits: np.ndarray):
        random = np.random.default_rng(0)
        shape = (8, 20, 30)
        x = random.laplace(0, 3, shape).astype(np.float32)
        scale_indices = random.integers(0, 32, shape).astype(np.uint8)
        weight = np.exp(random.normal(0, 2, 8)).astype(np.float32)
        found = quantized(x, scale_indices, weight, bits)
        assert (found[scale_indices == 0] == 0).all()
        radius = bits.shape[1] // 2

        def cost(symbols: np.ndarray) -> np.ndarray:
            return bits[scale_indices, symbols + radius] + weight[:, None, None] * np.square(x - symbols)

        rounded = np.rint(x).astype(int)
        inside = (scale_indices > 0) & (np.abs(rounded) <= radius)
        for steps in (0, 1, 2, radius):
            candidate = rounded - np.sign(rounded) * np.minimum(steps, np.abs(rounded))
            candidate = np.clip(candidate, -radius, radius)
            assert (cost(found)[inside] <= cost(candidate)[inside] + 1e-4).all()
        assert (np.abs(found) <= np.abs(rounded)).all()
        assert (np.abs(found) < np.abs(rounded))[inside].any()

    def test_without_weight_it_rounds(self, bits: np.ndarray):
        x = np.array([[[0.4, -0.6, 1.5, 2.5, -40000.0, 3.0]]], np.float32)
        scale_indices = np.array([[[5, 5, 5, 5, 5, 0]]], np.uint8)
        assert quantized(x, scale_indices, None, bits).tolist() == [[[0, -1, 2, 2, -32767, 0]]]

    def test_what_errors_cost_nothing_becomes_0_and_what_they_cost_much_is_kept(self, bits: np.ndarray):
        x = np.random.default_rng(0).normal(0, 2, (4, 9, 9)).astype(np.float32)
        scale_indices = np.full(x.shape, 12, np.uint8)
        assert not quantized(x, scale_indices, np.zeros(4, np.float32), bits).any()
        kept = quantized(x, scale_indices, np.full(4, 1e9, np.float32), bits)
        assert np.array_equal(kept, np.rint(x))


class TestTiles:
    @pytest.fixture
    def small_tiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(grid_encoder, "ONE_TILE", 0)
        monkeypatch.setattr(grid_encoder, "TILE", 256)

    @pytest.mark.usefixtures("small_tiles")
    def test_tiles_give_nearly_what_one_run_gives(self, grid: GridEncoder, monkeypatch: pytest.MonkeyPatch):
        picture = Picture(photo(700, 420))
        tiles = grid.analyse(picture)
        monkeypatch.setattr(grid_encoder, "ONE_TILE", 1 << 30)
        once = grid.analyse(picture)
        assert tiles.y.shape == once.y.shape == (grid.layout.channels, 27, 44)
        assert tiles.z.shape == once.z.shape == (grid.layout.hyper, 7, 11)
        for one, other in ((tiles.y, once.y), (tiles.z, once.z)):
            assert np.abs(one - other).max() < 1e-2 * np.abs(other).max()

    @pytest.mark.usefixtures("small_tiles")
    @pytest.mark.parametrize("effort", [1, 2])
    def test_a_picture_encoded_in_tiles_decodes_as_well(
        self, encoder: Encoder, decoder: Decoder, monkeypatch: pytest.MonkeyPatch, effort: int
    ):
        picture = photo(700, 420)
        tiles = encoder.encode(picture, 70, effort=effort)
        monkeypatch.setattr(grid_encoder, "ONE_TILE", 1 << 30)
        once = encoder.encode(picture, 70, effort=effort)
        assert abs(len(tiles) - len(once)) < 0.01 * len(once)
        difference = psnr_db(decoder.decode(tiles), picture) - psnr_db(decoder.decode(once), picture)
        assert abs(difference) < 0.05
