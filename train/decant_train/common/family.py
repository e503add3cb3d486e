"""What a family is: named sizes, a network, and how its configuration is written down."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Family:
    """A model family.

    ``sizes`` maps each named size to its configuration, a frozen dataclass of plain numbers; ``config`` is
    that dataclass' type and ``build`` makes the network of a configuration, randomly initialised from torch's
    current seed.
    """

    name: str
    config: type[Any]
    sizes: Mapping[str, Any]
    build: Any

    def network(self, config: Any) -> nn.Module:
        """The network of ``config``, randomly initialised."""
        network: nn.Module = self.build(config)
        return network
