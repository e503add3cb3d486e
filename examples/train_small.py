"""Train the smallest codec for a few steps and export it.

    python examples/train_small.py photos out --steps 5

Needs the extra `export` and photos of at least 256 pixels a side. A codec
that is worth using trains for hours: docs/training.md.
"""

import argparse
from pathlib import Path

from decant_export import export
from decant_train.codec.options import CodecOptions
from decant_train.codec.recipe import train_codec


def main(photos: Path, out: Path, steps: int) -> None:
    options = CodecOptions(steps=steps, batch_size=2, crop=64, device="cpu")
    checkpoint = train_codec("nano", out / "run", options, images=[photos], shape=SMALL, progress=False)
    bundle = export(checkpoint, out / "my-nano", licence="the licence of the photos", pictures=2)
    print(", ".join(graph.label for graph in bundle.graphs))


# A hundredth of the multiplications of `nano`, so that this example ends in seconds.
SMALL = {
    "latents": 128,
    "channel_groups": (8, 24, 96),
    "hyper": 8,
    "scale_width": 8,
    "context_width": 8,
    "analysis_width": 16,
    "analysis_blocks": 1,
    "predicted_channels": 40,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.photos, arguments.out, arguments.steps)
