"""The packed rewrite is the strided network, exactly."""

import pytest
import torch
import torch.nn.functional as F
from decant_train.published.set import packed
from decant_train.published.set.model import SetAutoencoder, SetConfig
from torch import Tensor


def strided_encode(model: SetAutoencoder, images: Tensor) -> Tensor:
    x = images
    for block in model.encoder.blocks:
        y = F.relu(block.conv(x))
        x = y if block.shortcut is None else y + block.shortcut(x)
    return model.encoder.linear(x.flatten(1))


def strided_decode(model: SetAutoencoder, latents: Tensor) -> Tensor:
    x = F.relu(model.decoder.linear(latents)).unflatten(1, model.config.grid)
    for block in model.decoder.blocks:
        y = F.relu(block.conv(x))
        x = y if block.shortcut is None else y + block.shortcut(x)
    return torch.sigmoid(model.decoder.last(x))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
def test_network_equals_the_published_strided_form(num_layers: int, residual: bool) -> None:
    torch.manual_seed(num_layers)
    model = SetAutoencoder(SetConfig(32, num_layers, latent_dim=5, set_size=2, residual=residual))
    images = torch.rand(2, 3, 32, 32)
    latents = strided_encode(model, images)
    torch.testing.assert_close(model.encode(images), latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.decode(latents), strided_decode(model, latents), atol=1e-5, rtol=1e-5)


def test_loss_is_the_mean_squared_error_of_the_decoded_pictures() -> None:
    torch.manual_seed(0)
    model = SetAutoencoder(SetConfig(16, 2, latent_dim=3, set_size=2))
    images, latents = torch.rand(2, 3, 16, 16), torch.randn(2, 3)
    loss = model.loss(latents, F.pixel_unshuffle(images, model.decoder.packing))
    torch.testing.assert_close(loss, F.mse_loss(model.decode(latents), images))


@pytest.mark.parametrize("phase", [1, 2])
def test_transposed_convolution_on_packed_pictures(phase: int) -> None:
    torch.manual_seed(phase)
    x, weight, bias = torch.randn(1, 4, 8, 8), torch.randn(4, 3, 4, 4), torch.randn(3)
    expected = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
    kernel = packed.conv_transpose_kernel(weight, phase)
    y = F.conv2d(F.pixel_unshuffle(x, phase), kernel, packed.packed_bias(bias, 2 * phase), padding=1)
    torch.testing.assert_close(F.pixel_shuffle(y, 2 * phase), expected, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_published_shapes() -> None:
    model = SetAutoencoder(SetConfig(16, 2, latent_dim=3, set_size=2))
    model.loss(torch.randn(2, 3), torch.rand(2, 48, 4, 4)).backward()
    gradients = {name: p.grad for name, p in model.decoder.named_parameters()}
    assert gradients["last.weight"].shape == (32, 3, 4, 4)
    assert all(g is not None and g.abs().sum() > 0 for g in gradients.values())
