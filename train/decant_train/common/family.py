"""What a family is: named sizes, a network, and how its configuration is written down."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Family:
    """A model family.

    ``sizes`` maps each named size to its configuration, a frozen dataclass of plain numbers; ``config`` is
    that dataclass' type and ``build`` makes the network of a configuration, randomly initialised from torch's
    current seed. ``config_keys``: fields of a configuration -> their keys in files, where these differ.
    """

    name: str
    config: type[Any]
    sizes: Mapping[str, Any]
    build: Any
    config_keys: Mapping[str, str] = field(default_factory=dict)

    def to_keys(self, config: Any) -> dict[str, Any]:
        """``config`` as files hold it: keys and plain values."""
        return {self.config_keys.get(name, name): value for name, value in asdict(config).items()}

    def from_keys(self, values: Mapping[str, Any]) -> Any:
        """The configuration of which files hold ``values``. Raises TypeError or ValueError."""
        fields = {key: name for name, key in self.config_keys.items()}
        return self.config(**{fields.get(key, key): value for key, value in values.items()})

    def network(self, config: Any) -> nn.Module:
        """The network of ``config``, randomly initialised."""
        network: nn.Module = self.build(config)
        return network
