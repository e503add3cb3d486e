"""The family ``perceptual``: torchvision's trunk, the bottleneck of bits, the perceptual loss, training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from decant_train.cli import train
from decant_train.common import checkpoint as checkpoints
from decant_train.common import loop
from decant_train.common.checkpoint import CheckpointError
from decant_train.data import wheel_photos
from decant_train.data.photos import group_of, is_validation
from decant_train.published.perceptual import features
from decant_train.published.perceptual import recipe as recipes_perceptual
from decant_train.published.perceptual.model import SIZES, PerceptualAutoencoder, PerceptualConfig
from decant_train.published.perceptual.recipe import Squares, squares, torchvision_state, train_perceptual
from PIL import Image
from safetensors.torch import save_file
from vgg_weights import write_vgg

TINY = {"image_size": 64, "width": 4, "latent_channels": 6, "decoder": (12, 8, 8), "last": 8}
OPTIONS = loop.Options(epochs=6, batch_size=4, evaluate_every=3, precision="float32", learning_rate=3e-3)


def photos() -> Squares:
    crops = wheel_photos.crops(16, 64)
    return Squares(crops[:12], crops[12:])


def run(out: Path, options: loop.Options = OPTIONS, **given: object) -> checkpoints.Checkpoint:
    given = {"images": photos(), "mu": 0.0, "shape": TINY, "progress": False} | given
    return train_perceptual("small", out, options, **given)  # type: ignore[arg-type]


def test_the_default_trunk_is_resnet_101_as_torchvision_names_it() -> None:
    with torch.device("meta"):
        trunk = PerceptualAutoencoder(SIZES["default"]).encoder.trunk
    # torchvision's resnet101 has 44,549,160 parameters, 2,049,000 of them in its classifier.
    assert sum(p.numel() for p in trunk.parameters()) == 44_549_160 - 2_049_000
    names = dict(trunk.named_parameters())
    assert names["conv1.weight"].shape == (64, 3, 7, 7)
    assert names["layer3.22.bn3.bias"].shape == (1024,)
    assert names["layer4.0.downsample.0.weight"].shape == (2048, 1024, 1, 1)
    assert "layer1.1.downsample.0.weight" not in names
    assert SIZES["default"].latent_shape == (2048, 4, 4)
    with torch.device("meta"):
        whole = PerceptualAutoencoder(SIZES["default"]).eval()
        assert whole.encode(torch.empty(1, 3, 256, 256)).shape == (1, 2048, 4, 4)
        assert whole.decode(torch.empty(1, 2048, 4, 4)).shape == (1, 3, 256, 256)
    assert trunk.get_submodule("layer2.0.conv2").stride == (2, 2)
    assert trunk.get_submodule("layer2.0.conv1").stride == (1, 1)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_state_dict_of_torchvision_names_loads(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(1)
    config = replace(SIZES["small"], **TINY)
    other = PerceptualAutoencoder(config).encoder.trunk
    state = {**other.state_dict(), "fc.weight": torch.ones(10, 128), "fc.bias": torch.ones(10)}
    path = tmp_path / f"resnet{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    done = run(tmp_path / "out", replace(OPTIONS, epochs=1, learning_rate=1e-12), encoder_weights=path)
    assert done.data["encoder_weights"] == path.name
    torch.testing.assert_close(done.model.encoder.trunk.conv1.weight, other.conv1.weight)
    with pytest.raises(ValueError, match=r"bn1.bias has shape \(4,\); \(64,\) expected"):
        PerceptualAutoencoder(replace(SIZES["default"], blocks=(1, 1, 1, 1))).load_trunk(state)
    with pytest.raises(ValueError, match=r"layer1.1.* is missing"):
        PerceptualAutoencoder(replace(config, blocks=(2, 1, 1, 1))).load_trunk(state)


def test_files_that_hold_no_state_dict_are_refused(tmp_path: Path) -> None:
    for name, content in (("a.pth", b"not torch"), ("b.safetensors", b"not safetensors")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as weights"):
            torchvision_state(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        torchvision_state(tmp_path / "list.pth")


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_the_bottleneck_has_its_levels_and_its_noise(bits: int) -> None:
    torch.manual_seed(2)
    model = PerceptualAutoencoder(replace(SIZES["small"], **TINY, bits=bits))
    latents = torch.rand(3, 6, 2, 2)
    rounded = model.quantize(latents)
    assert len(torch.unique(rounded)) <= 2**bits
    assert (rounded - latents).abs().max() <= 0.5 / (2**bits - 1) + 1e-6
    seen: list[torch.Tensor] = []
    model.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    pictures = torch.rand(4, 3, 64, 64)
    model.train()(pictures)
    model.eval()(pictures)
    noisy, coded = seen
    assert torch.equal(coded, model.quantize(coded))
    assert coded.min() >= 0
    assert coded.max() <= 1
    assert not torch.equal(noisy, model.quantize(noisy))


def test_gradients_pass_the_clamp() -> None:
    model = PerceptualAutoencoder(replace(SIZES["small"], **TINY)).train()
    assert model.encoder.project_bn is not None
    torch.nn.init.constant_(model.encoder.project_bn.bias, 3.0)  # every latent beyond its range
    model(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert model.encoder.project_bn.bias.grad.abs().sum() > 0


def test_configurations_that_do_not_fit_are_refused() -> None:
    for wrong in ({"pool": 4}, {"decoder": (8,)}, {"image_size": 100}, {"bits": 9}, {"blocks": (1, 1, 1)}):
        with pytest.raises(ValueError):  # noqa: PT011 - each has a message of its own
            PerceptualConfig(**wrong)  # type: ignore[arg-type]


def test_features_are_vggs_in_any_width_and_depth(tmp_path: Path) -> None:
    network = features.load(write_vgg(tmp_path / "vgg.npz"))
    assert network.stride == 4
    pictures = torch.from_numpy(wheel_photos.crops(2, 32).transpose(0, 3, 1, 2).copy()).float() / 255
    found = network(pictures)
    assert found.shape == (2, 16, 8, 8)
    assert found.min() == 0  # rectified
    assert not any(p.requires_grad for p in network.parameters())
    assert float(network.distance(pictures, pictures)) == 0
    mirrored = pictures.flip(0).requires_grad_()
    distance = network.distance(mirrored, pictures)
    expected = (network(pictures.flip(0)) - found).abs().mean()
    torch.testing.assert_close(distance, expected)
    distance.backward()
    assert mirrored.grad is not None
    assert mirrored.grad.abs().sum() > 0


def test_files_without_vgg_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no npz file of arrays"):
        features.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="no weights at all"):
        features.load(tmp_path / "b.npz")
    with np.load(write_vgg(tmp_path / "c.npz")) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / "d.npz", **{k: v for k, v in arrays.items() if not k.startswith("conv12.")})
    features.load(tmp_path / "d.npz")  # as wide as the next one expects: it cannot be told
    arrays["conv21.weight"] = arrays["conv21.weight"][:, :4]
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(ValueError, match="no VGG-19 convolutions in a row"):
        features.load(tmp_path / "e.npz")


@pytest.mark.parametrize(
    ("name", "channels", "stride"),
    [("vgg19_normalised_relu3_1", 256, 4), ("vgg19_small16x_relu5_1_fp16", 128, 16)],
)
def test_real_features_tell_strong_compression_from_weak(name: str, channels: int, stride: int) -> None:
    path = Path(__file__).parents[4] / "shared/data/perceptual" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there: the weights are not part of the project")
    import io

    network = features.load(path)
    assert network.stride == stride
    photo = wheel_photos.crops(1, 128)[0]
    pair = []
    for quality in (90, 10):
        stream = io.BytesIO()
        Image.fromarray(photo).save(stream, "JPEG", quality=quality)
        with Image.open(stream) as coded:
            pair.append(np.asarray(coded.convert("RGB")))
    original, weak, strong = (
        torch.from_numpy(p.transpose(2, 0, 1)[None].copy()).float() / 255 for p in (photo, *pair)
    )
    assert network(original).shape == (1, channels, 128 // stride, 128 // stride)
    assert float(network.distance(strong, original)) > 2 * float(network.distance(weak, original)) > 0


def test_training_lowers_the_loss_and_keeps_what_export_needs(tmp_path: Path) -> None:
    done = run(tmp_path / "out", replace(OPTIONS, epochs=30), bits=2)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.7 * losses[0]
    assert done.data["encoder_weights"] == "random"
    assert done.data["images"] == 12
    loaded = checkpoints.load(tmp_path / "out").model
    assert isinstance(loaded, PerceptualAutoencoder)
    assert loaded.level_counts.shape == (6, 4)
    assert loaded.level_counts.sum(1).tolist() == [12 * 4] * 6  # 12 pictures of 2x2 places
    pixels = torch.from_numpy(photos().training.transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        latents = loaded.encode(pixels)
    torch.testing.assert_close(loaded.known[0], latents[0], atol=1e-5, rtol=1e-4)
    counts = [(loaded.quantize(latents)[:, c] == 1).sum().item() for c in range(6)]
    assert counts == loaded.level_counts[:, 3].tolist()


def test_the_perceptual_loss_is_part_of_training(tmp_path: Path) -> None:
    weights = write_vgg(tmp_path / "vgg.npz")
    done = run(tmp_path / "out", mu=1.0, features_file=weights)
    assert done.data["mu"] == 1.0
    assert done.data["features"] == "vgg.npz"
    assert done.metrics["feature_distance"] > 0
    assert done.metrics["loss"] > done.metrics["feature_distance"] / 2  # MSE alone is far below
    with pytest.raises(ValueError, match="a value above 0 needs --features"):
        run(tmp_path / "none", mu=0.1)


def test_resuming_equals_training_in_one_go_up_to_its_noise(tmp_path: Path) -> None:
    run(tmp_path / "parts", replace(OPTIONS, epochs=3))
    parts = run(tmp_path / "parts", resume=True)
    assert parts.epoch == 6
    with pytest.raises(CheckpointError, match="was trained as"):
        run(tmp_path / "parts", resume=True, bits=2)


def test_validation_photos_are_nobodys_training(tmp_path: Path) -> None:
    crops = wheel_photos.crops(10, 64)
    # Names of two pictures of one photograph; the hash of the name says which photographs are held back.
    held = [f"p_{i:04}" for i in range(400) if is_validation(f"p_{i:04}.png")][:2]
    others = [f"p_{i:04}" for i in range(400) if not is_validation(f"p_{i:04}.png")][:3]
    for i, name in enumerate(f"{stem}{letter}" for stem in [*held, *others] for letter in "ab"):
        Image.fromarray(crops[i]).save(tmp_path / f"{name}.png")
    found = squares(tmp_path, 64)
    assert (len(found.training), len(found.validation)) == (6, 4)
    for picture in found.validation:
        assert not (found.training == picture).all((1, 2, 3)).any()
    assert len(squares(tmp_path, 64, pictures=3).training) == 3
    assert squares(tmp_path, 32).training.shape == (6, 32, 32, 3)
    np.testing.assert_array_equal(squares(tmp_path, 32).training, found.training[:, 16:48, 16:48])


def test_a_folder_without_validation_names_gives_one_photograph(tmp_path: Path) -> None:
    names = [f"q_{i:04}" for i in range(50) if not is_validation(f"q_{i:04}.png")][:4]
    for name, crop in zip(names, wheel_photos.crops(4, 32), strict=True):
        Image.fromarray(crop).save(tmp_path / f"{name}.png")
    found = squares(tmp_path, 64)  # enlarged
    assert (len(found.training), len(found.validation)) == (3, 1)
    assert {group_of(f"{n}.png") for n in names} == set(names)


def test_the_photos_in_the_wheels_serve_where_no_folder_is_given() -> None:
    found = squares(None, 128, pictures=50)
    assert found.training.shape == (50, 128, 128, 3)
    assert 4 <= len(found.validation) <= recipes_perceptual.VALIDATION
    everything = squares(None, 128)
    assert len(everything.training) > 150
    for picture in found.validation[:4]:
        assert not (everything.training == picture).all((1, 2, 3)).any()


def test_a_start_of_other_bits_is_gone_on_with(tmp_path: Path) -> None:
    first = run(tmp_path / "first")
    still = replace(OPTIONS, epochs=1, learning_rate=1e-12)
    second = run(tmp_path / "second", still, begin=tmp_path / "first", bits=2)
    assert second.config.bits == 2
    assert second.model.level_counts.shape == (6, 4)
    weights = second.model.decoder.picture.weight
    torch.testing.assert_close(weights, first.model.decoder.picture.weight, atol=1e-6, rtol=1e-6)
    with pytest.raises(CheckpointError, match="but for bits"):
        run(tmp_path / "third", begin=tmp_path / "first", shape={**TINY, "last": 4})


def test_the_command_trains_and_says_that_weights_are_random(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "photos").mkdir()
    for i, crop in enumerate(wheel_photos.crops(4, 128)):
        Image.fromarray(crop).save(tmp_path / f"photos/p_{i}.png")
    weights = write_vgg(tmp_path / "vgg.npz")
    arguments = ["perceptual", "small", "--images", str(tmp_path / "photos"), "--features", str(weights)]
    arguments += ["--bits", "2", "--epochs", "1", "--out", str(tmp_path / "out"), "--quiet"]
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["epoch"] == 1
    assert {"psnr", "ssim", "feature_distance"} <= said.keys()
    assert "random weights" in caplog.text
    described = checkpoints.read_description(tmp_path / "out")
    assert described["config"]["bits"] == 2
    assert described["options"]["evaluate_every"] == recipes_perceptual.EVALUATE_EVERY
