"""Every model that was ever released: name, versions, and where the repository's history has those that no
longer come in the wheel.

``known_models.json`` lists them by model id. ``python -m decant.bundles.release`` adds the models of a
release; docs/compatibility.md is the promise that it serves.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from decant.bundles.names import version_key
from decant.formats.strict_json import load_json

TABLE = Path(__file__).with_name("known_models.json")
# The package that holds the decoders of models that no longer come in the wheel.
EARLIER_PACKAGE = "decant-models-archive"


@dataclass(frozen=True)
class KnownModel:
    """A released model. ``versions`` ascend; several bundles may hold one model, as when its graphs were
    exported anew. ``commit`` (40 digits) has the bundle where the wheel has it no more. ``commercial_use`` is
    yes, no or unclear.
    """

    model_id: str
    name: str
    versions: tuple[str, ...]
    commit: str | None
    commercial_use: str

    def __str__(self) -> str:
        return f"{self.name} {self.versions[-1]} (id {self.model_id[:16]})"


@cache
def known_models() -> dict[str, KnownModel]:
    """Released models by model id. Raises BundleError when the package's own table is damaged."""
    table = load_json(TABLE.read_bytes(), str(TABLE))
    return {
        key: KnownModel(
            key,
            value["name"],
            tuple(sorted(value["versions"], key=version_key)),
            value.get("commit"),
            value["commercial_use"],
        )
        for key, value in table.items()
    }


def known(model_id: str) -> KnownModel | None:
    """The released model whose id begins with ``model_id``, of 8 hexadecimal digits or more; None where there
    is none.
    """
    if len(model_id) < 8:
        return None
    return next((model for key, model in known_models().items() if key.startswith(model_id)), None)


def known_by_version(name: str, version: str) -> list[KnownModel]:
    """Released models called ``name`` of a version that begins with ``version``, the newest first."""
    from decant.bundles.names import ModelName

    asked = ModelName(name, version)
    found = [
        model
        for model in known_models().values()
        if model.name == name and any(asked.takes(one) for one in model.versions)
    ]
    return sorted(found, key=lambda model: version_key(model.versions[-1]), reverse=True)
