"""Change the shape of the codec and see what it costs, before any training.

    python examples/change_model.py

Prints the parameters of each part for `nano` and for a variant with one more channel group. Everything that
has to know about a new shape reads it from `CodecConfig`: see docs/change_model.md.
"""

from dataclasses import replace

from decant_train.codec.config import SIZES, CodecConfig
from decant_train.codec.model import Codec


def parameters(config: CodecConfig) -> dict[str, int]:
    """Number of parameters by part of the codec."""
    codec = Codec(config)
    parts = {"analysis": codec.analysis, "synthesis": codec.synthesis, "hyperprior": codec.hyperprior}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def main() -> None:
    nano = SIZES["nano"]
    first, *rest = nano.channel_groups
    finer = replace(
        nano, channel_groups=(first // 2, first - first // 2, *rest)
    )  # one more group, same channels
    for name, config in (("nano", nano), ("one more channel group", finer)):
        counted = ", ".join(f"{part} {count:,}" for part, count in parameters(config).items())
        print(f"{name}, groups {config.channel_groups}: {counted}")


if __name__ == "__main__":
    main()
