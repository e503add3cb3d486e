"""Names of tensors in checkpoints where they differ from the attributes of a network.

Files keep the names of the first version, so that every checkpoint stays readable. ``state_dict`` and
``load_state_dict`` of a network use the names of files; ``named_parameters`` uses the attributes.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn


def keep_tensor_names(module: nn.Module, names: Mapping[str, str], older: Mapping[str, str]) -> None:
    """Have ``state_dict`` of ``module`` write the attributes in ``names`` (attribute -> name in files) under
    their names in files, and ``load_state_dict`` read them. ``older``: earlier name -> name in files, read
    only.
    """

    def to_files(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
        for attribute, name in names.items():
            _rename(state, prefix + attribute, prefix + name)

    def from_files(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
        for earlier, name in older.items():
            _rename(state, prefix + earlier, prefix + name)
        for attribute, name in names.items():
            _rename(state, prefix + name, prefix + attribute)

    module.register_state_dict_post_hook(to_files)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(from_files)  # type: ignore[no-untyped-call]


def _rename(state: dict[str, Any], old: str, new: str) -> None:
    """In place: the tensor ``old``, and all tensors below it."""
    for name in [name for name in state if name == old or name.startswith(f"{old}.")]:
        state[new + name.removeprefix(old)] = state.pop(name)
