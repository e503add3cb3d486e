"""A bundle becomes a codec again, is trained on an archive, and becomes a bundle."""

import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soft_photos
import torch
from decant import Decoder, Encoder
from decant.adaptation.adapting import GROUP
from decant.backends.session import Session
from decant.bundles.bundle import Bundle
from decant.codec.decoder import tiles_of
from decant.formats import container
from decant.formats.model_rows import network_rows, rewritten
from decant.selection.candidates import GraphRequest
from decant.selection.loading import load_session
from decant_export import adapting
from decant_export.families.codec import float_graphs as codec_graphs
from decant_export.families.codec import tables as codec_tables
from decant_export.families.codec.importing import codec_of
from decant_train.codec.adapt import AdaptOptions
from decant_train.codec.model import Codec
from decant_train.data.archive_pictures import ArchivePictures


@pytest.fixture(scope="module")
def imported(codec: Path) -> Codec:
    return codec_of(Bundle.open(codec))


def session(bundle: Bundle, role: str) -> Session:
    return load_session(
        bundle, role, GraphRequest(precision="float", runtime="onnxruntime"), 1, "never"
    ).session


@torch.no_grad()
def test_a_bundle_gives_its_codec_back(codec: Path, imported: Codec) -> None:
    bundle, photo = Bundle.open(codec), soft_photos.photo()[:128, :192]
    (latents,) = codec_tables.latents_of(imported, [photo])
    y = session(bundle, "analysis").run(photo[None])
    assert np.allclose(y[0], latents.y, atol=1e-4)
    assert np.allclose(session(bundle, "hyper_analysis").run(y)[0], latents.hyper, atol=1e-3)
    for name, table in codec_tables._scale_network(imported).items():
        assert np.array_equal(table, bundle.tables[name])
    again = codec_graphs.settled(imported)
    settled, own = again.synthesis.state_dict(), imported.synthesis.state_dict()
    assert all(torch.equal(settled[name], own[name]) for name in own)


@torch.no_grad()
def test_it_decodes_files_to_the_same_pixels(codec: Path, imported: Codec) -> None:
    bundle, photo, quality = Bundle.open(codec), soft_photos.photo()[:128, :192], 60
    data = Encoder(codec, threads=1).encode(photo, quality, effort=0)
    layout, file = bundle.layout, container.parse(data)
    (symbols,) = tiles_of(layout, file, "file")
    row, shape = layout.quality(quality), layout.grid(file.width, file.height)
    z = layout.decode_hyper(layout.parse(file.latents, file.width, file.height, "file"), shape, row, "file")
    mean = imported.hyperprior.mean(torch.from_numpy(row.scaled(z).astype(np.float32) / 16)[None])
    gain = torch.from_numpy(1 / row.step)[None, :, None, None]
    sent = torch.from_numpy(symbols)[None]
    latents = sent / gain + imported.hyperprior.means(mean[:, :, : shape.h, : shape.w], sent, gain)
    decoded = ((imported.synthesis(latents)[0] + 0.5) * 255).round().clamp(0, 255).byte()
    expected = Decoder(codec, runtime="onnxruntime", precision="float", threads=1).decode(data)
    assert np.abs(decoded.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def test_rate_points_are_those_of_the_rows(codec: Path, imported: Codec) -> None:
    tables = Bundle.open(codec).tables
    steps = tables["quality.step_levels"][tables["quality.step_index"]]
    again = codec_tables._qualities(imported)
    restored = again["quality.step_levels"][again["quality.step_index"]]
    assert np.abs(np.log(restored / steps)).max() < 0.05
    for name in ("class_offset", "hyper_multiplier", "hyper_class"):
        differing = again[f"quality.{name}"].astype(int) - tables[f"quality.{name}"]
        assert np.abs(differing).max() <= 1


def test_a_model_file_is_rewritten_bit_for_bit(codec: Path) -> None:
    bundle = Bundle.open(codec)
    data = bundle.read(f"{bundle.name}.dcnm")
    rows = network_rows(data, bundle.tables)
    assert rewritten(data, bundle.name, bundle.model_id, bundle.tables, rows) == data


def test_crops_lie_on_the_grid_and_are_not_mirrored() -> None:
    row = np.arange(200, dtype=np.uint8)
    picture = np.stack([np.broadcast_to(row, (100, 200)), np.broadcast_to(row[:100, None], (100, 200))], -1)
    picture = np.concatenate([picture, picture[..., :1]], -1)
    pictures = ArchivePictures([picture, picture[:40, :40]], ["large", "small"])
    crops = (pictures.crops(64, 64, torch.Generator().manual_seed(0)) * 255).round().int()
    assert {int(value) for value in crops[:, 0, 0, 0]} == {0, 64, 128, 192}
    assert {int(value) for value in crops[:, 1, 0, 0]} <= {0, 64}
    assert (crops[:, 0].diff(dim=2) >= 0).all()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="level 'tables' cannot be trained"):
        AdaptOptions("tables", 3.0, steps=1)
    with pytest.raises(ValueError, match="needs a budget"):
        AdaptOptions("prior", 3.0)
    with pytest.raises(ValueError, match="multiple of 64"):
        AdaptOptions("prior", 3.0, steps=1, crop=100)


def test_the_entry_point_is_what_trains() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, name = project["project"]["entry-points"][GROUP]["train"].split(":")
    assert getattr(import_module(module), name) is adapting.train
