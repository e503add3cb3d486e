"""docs/training.md says how to make the file of VGG-19 weights; what it makes is what training reads."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from decant_train.published.perceptual import features
from torch import nn

PAGE = Path(__file__).parents[3] / "docs" / "training.md"


def network() -> nn.Sequential:
    """The first five convolutions of VGG-19, with random weights, as torchvision lays ``features`` out."""
    layers: list[nn.Module] = []
    for out, given, pool in ((64, 3, 0), (64, 64, 1), (128, 64, 0), (128, 128, 1), (256, 128, 0)):
        layers += [nn.Conv2d(given, out, 3, padding=1), nn.ReLU(inplace=False)]
        layers += [nn.MaxPool2d(2, 2)] * pool
    return nn.Sequential(*layers).eval()


def test_the_documented_program_makes_a_file_that_training_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights themselves are fetched by torchvision, so random ones of the same layout stand for them."""
    torch.manual_seed(0)
    vgg = network()
    models = ModuleType("torchvision.models")
    models.vgg19 = lambda weights: SimpleNamespace(features=vgg)  # type: ignore[attr-defined]
    models.VGG19_Weights = SimpleNamespace(IMAGENET1K_V1=None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (program,) = [block for block in blocks if "vgg19" in block]
    exec(program, {})
    pictures = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = vgg((pictures - mean) / std)
        found = features.load(tmp_path / "vgg19.npz")(pictures)
    assert found.shape == expected.shape == (1, 256, 16, 16)
    inside = (..., slice(4, -4), slice(4, -4))  # training pads by reflection, torchvision by zeros
    torch.testing.assert_close(found[inside], expected[inside], rtol=1e-4, atol=1e-5)
