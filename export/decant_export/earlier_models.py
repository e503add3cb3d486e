"""The package of earlier decoders, made from the history: ``python -m decant_export.earlier_models``.

Each model of ``decant.bundles.known_models`` that no longer comes in the wheel is taken from the commit named
there, checked against its model id and the table of released files, and written as a decoder-only bundle in
float32 for ONNX Runtime (``decant.slim``). The result is a Python package ``decant_models_archive``, in which
decant looks by itself once it is installed. Its folders are named as on a mirror (``decant.bundles.fetch``),
so it can be served, too.
"""

import argparse
import base64
import hashlib
import io
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from decant.bundles.bundle import Bundle
from decant.bundles.known_models import EARLIER_PACKAGE, KnownModel, known_models
from decant.bundles.names import version_key
from decant.bundles.shipped import require_released
from decant.slim import slim

from decant_export.errors import ExportError

PACKAGE = EARLIER_PACKAGE.replace("-", "_")
_FOLDER = "artifacts/decant_bundles"
_METADATA = """\
Metadata-Version: 2.1
Name: {name}
Version: {version}
Summary: Decoders of earlier models of decant, so that every file of a released model decodes
Requires-Python: >=3.11
Description-Content-Type: text/markdown

Decoders of earlier models of decant, float32, for ONNX Runtime:

{models}

Terms: as each bundle's card.md says; `decant models` lists them.
"""
_WHEEL = b"Wheel-Version: 1.0\nGenerator: decant\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DATE = (1980, 1, 1, 0, 0, 0)  # of every file in the wheel, so that equal content gives an equal wheel


def earlier_models() -> list[KnownModel]:
    """The released models that no longer come in the wheel, by name and version."""
    found = [model for model in known_models().values() if model.commit is not None]
    return sorted(found, key=lambda model: (model.name, version_key(model.versions[-1])))


def is_in_history(model: KnownModel, repository: Path) -> bool:
    """Whether the repository's history, which may be cut short, has the commit of ``model``."""
    command = ["git", "-C", str(repository), "cat-file", "-e", f"{model.commit}^{{commit}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def take_from_history(model: KnownModel, repository: Path, folder: Path) -> Bundle:
    """The whole bundle of ``model`` as its commit has it, in a new folder of its name in ``folder``. Raises
    ExportError where the history is not here, BundleError where what is there is not the released model.
    """
    if not is_in_history(model, repository):
        raise ExportError(
            f"{repository}: commit {model.commit} of model {model} is not in its history; "
            "clone the whole repository, or: git fetch --unshallow"
        )
    command = ["git", "-C", str(repository), "archive", f"{model.commit}:{_FOLDER}", model.name]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    bundle = Bundle.open(folder / model.name)
    if bundle.model_id != model.model_id:
        raise ExportError(f"{repository}: commit {model.commit} has another model than {model}")
    require_released(bundle)
    return bundle


def write_package(folder: Path, repository: Path) -> None:
    """Write the package into the new folder ``folder``. Raises as ``take_from_history`` and
    ``decant.slim.slim`` do.
    """
    folder.mkdir(parents=True)
    for model in earlier_models():
        with tempfile.TemporaryDirectory() as place:
            bundle = take_from_history(model, repository, Path(place))
            slim(bundle, folder / model.model_id[:16], runtime="onnxruntime", precision="float32")
    (folder / "__init__.py").write_text('"""Decoders of earlier models; decant looks here by itself."""\n')


def write_wheel(folder: Path, out: Path, version: str) -> Path:
    """The wheel of the package in ``folder``, written into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    wheel = out / f"{PACKAGE}-{version}-py3-none-any.whl"
    info = f"{PACKAGE}-{version}.dist-info"
    models = "\n".join(f"* {model}" for model in earlier_models())
    files = {
        f"{PACKAGE}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files[f"{info}/METADATA"] = _METADATA.format(
        name=EARLIER_PACKAGE, version=version, models=models
    ).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: decant\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)
    return wheel


def _digest(data: bytes) -> str:
    """SHA-256 as RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def main() -> None:
    """Write the wheel into the folder given."""
    from importlib.metadata import version

    parser = argparse.ArgumentParser(prog="python -m decant_export.earlier_models", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder of the wheel")
    parser.add_argument("--repository", type=Path, default=Path(), help="clone with the whole history")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / PACKAGE
        write_package(folder, given.repository)
        print(write_wheel(folder, given.out, version("decant-codec")))


if __name__ == "__main__":
    main()
