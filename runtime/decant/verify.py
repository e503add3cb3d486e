"""``decant verify``: is a file whole, and does every graph of a bundle decode right here?"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from decant.backends.device import Device
from decant.backends.devices import available_devices
from decant.backends.session import Session
from decant.backends.tiling import is_static
from decant.bundles.bundle import Bundle, find_bundle
from decant.bundles.shipped import foreign_files
from decant.errors import BundleError, DecantError, MissingExtraError, ModelNotFoundError
from decant.formats import container
from decant.formats.manifest import DEVICE_PRECISIONS, Graph
from decant.formats.reading import read_dcn
from decant.process import lifecycle
from decant.selection import golden
from decant.selection.candidates import GraphRequest
from decant.selection.loading import load_session
from decant.selection.opening import open_graph
from decant.text import escaped

ENCODING_ROLES = ("analysis", "hyper_analysis", "prediction", "synthesis_adjoint")


@dataclass(frozen=True)
class Finding:
    """One line of a verification; ``passed`` is None for what could not be tried here."""

    passed: bool | None
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{ {True: 'ok', False: 'FAIL', None: 'skip'}[self.passed]:4} {self.what}: {self.detail}"


def verify_file(
    path: str | PathLike[str],
    bundle_dir: str | PathLike[str] | None = None,
    size_limit: int = container.DEFAULT_SIZE_LIMIT,
) -> Finding:
    """Check a ``.dcn`` file: checksums, its model's bundle, and that its latents and alpha decode there.

    Where its model is not here, the finding's ``passed`` is None and its detail says what was not checked.
    Raises FormatError or BundleError when something is not right, SizeLimitError for more than ``size_limit``
    pixels, OSError when the file cannot be read.
    """
    return FileVerifier(bundle_dir, size_limit)(read_dcn(path), str(path))


class FileVerifier:
    """Checks ``.dcn`` files, opening the bundle of each model once; safe to use from several threads."""

    def __init__(
        self,
        bundle_dir: str | PathLike[str] | None = None,
        size_limit: int = container.DEFAULT_SIZE_LIMIT,
        *,
        require_model: bool = False,
    ) -> None:
        """``require_model`` raises ModelNotFoundError for a file whose model is not here."""
        self._bundle_dir = bundle_dir
        self._size_limit = size_limit
        self._require_model = require_model
        self._bundles: dict[tuple[str, bytes], Bundle] = {}
        self._lock = lifecycle.Native(threading.Lock)  # made anew in a forked child

    def __call__(self, data: bytes, source: str = "<bytes>") -> Finding:
        """Check the bytes of a file. Raises as ``verify_file`` does."""
        file = container.parse(data, source)
        container.check_size(file.width, file.height, source, self._size_limit)
        try:
            bundle = self._bundle(file)
        except ModelNotFoundError as error:
            if self._require_model:
                raise
            return _without_model(file, source, error)
        said = [f"{file.width}x{file.height}"]
        said += bundle.layout.verify(file, bundle.image, source)
        said += [f"model {bundle.name} {bundle.version}", "all checksums right"]
        return Finding(True, source, ", ".join(said))

    def _bundle(self, file: container.DcnFile) -> Bundle:
        key = (file.name, file.model_id)
        with self._lock.get():
            if key not in self._bundles:
                self._bundles[key] = find_bundle(*key, self._bundle_dir)
                _ = self._bundles[key].layout  # read once, before other threads need it
            return self._bundles[key]


def _without_model(file: container.DcnFile, source: str, error: ModelNotFoundError) -> Finding:
    """What can be said of a parsed file without its model. Raises FormatError for a damaged alpha plane."""
    said = [f"{file.width}x{file.height}", "header and all checksums right"]
    if file.alpha is not None:
        from decant.formats import alpha

        alpha.unpack(file.alpha, file.width, file.height, source)
        said.append("alpha decoded")
    return Finding(None, source, f"{', '.join(said)}; symbols not checked: {error}")


def verify_files(
    jobs: Sequence[Path],
    bundle_dir: str | PathLike[str] | None = None,
    size_limit: int = container.DEFAULT_SIZE_LIMIT,
    threads: int = 0,
    *,
    require_model: bool = False,
) -> Iterator[Finding]:
    """Check many ``.dcn`` files, several at a time, in order; whatever is wrong with one is its finding."""
    from decant.batch import in_parallel

    verifier = FileVerifier(bundle_dir, size_limit, require_model=require_model)

    def check(path: Path) -> Finding:
        return verifier(read_dcn(path), str(path))

    for path, result in in_parallel(jobs, check, str, threads):
        if isinstance(result, str):
            yield Finding(False, str(path), result.removeprefix(f"{escaped(str(path))}: "))
        else:
            yield result


def verify_bundle(path: str | PathLike[str], threads: int = 0) -> Iterator[Finding]:
    """Check all files of a bundle, then run every graph on every device of every runtime that is installed,
    against the golden files.

    Files are checked even where no runtime can be loaded. Raises BundleError when the bundle cannot be opened
    at all. Static graphs that ``decant export --to npu`` adds to a released bundle were not released: a
    finding says so, and the released golden files check them.
    """
    bundle = Bundle.open(path)
    added = _added_for_devices(bundle)
    try:
        if added:
            bundle.verify_files()
        else:
            bundle.verify()
    except DecantError as error:
        yield Finding(False, "files", str(error))
        return
    count = len(bundle.manifest.entries)
    yield Finding(True, "files", f"{count} files, all hashes right, model id {bundle.model_id[:16]}")
    if added:
        detail = "not released under this model id: made for devices, checked against released golden files"
        yield Finding(None, ", ".join(added), detail)
    for runtime in dict.fromkeys(graph.runtime for graph in bundle.graphs):
        graphs = [graph for graph in bundle.graphs if graph.runtime == runtime]
        try:
            devices = {device.kind: device for device in available_devices(runtime)}
        except (MissingExtraError, KeyError) as error:
            reason = (
                str(error)
                if isinstance(error, MissingExtraError)
                else f"runtime {runtime} is unknown to this decant"
            )
            yield from (Finding(None, graph.label, f"not run: {reason}") for graph in graphs)
            continue
        for device in devices.values():
            for graph in graphs:
                if device.static_shapes and not is_static(graph):
                    what = f"{graph.label} {device.kind}"
                    yield Finding(None, what, f"not run: {device.name} takes static shapes alone")
                else:
                    yield _try(bundle, graph, device, threads)


def _added_for_devices(bundle: Bundle) -> list[str]:
    """The static graphs of a bundle with a released model id that were not released; empty where another file
    was not released either.
    """
    foreign = set(foreign_files(bundle.manifest))
    static = [g for g in bundle.graphs if g.precision in DEVICE_PRECISIONS and is_static(g)]
    added = [g for g in static if any(entry.path in foreign for entry in g.files)]
    return [g.label for g in added] if foreign <= {entry.path for g in added for entry in g.files} else []


def _try(bundle: Bundle, graph: Graph, device: Device, threads: int) -> Finding:
    try:
        bundle.layout.check_graph(bundle, graph)
        session = open_graph(bundle, graph, device=device.kind, threads=threads)
        what = f"{graph.role}.{graph.precision} {session.runtime} {session.runtime_version} {session.device}"
        if graph.role in ENCODING_ROLES:
            return Finding(True, what, _encode(bundle, graph.role, session))
        psnr = golden.check(bundle, graph, session, "always")
    except DecantError as error:
        return Finding(False, f"{graph.label} {device.kind}", str(error))
    if psnr is None:
        return Finding(None, what, "loads, and the bundle has no golden pictures for it")
    shown = "the golden pixels exactly" if np.isinf(psnr) else f"{psnr:.1f} dB to the golden pixels"
    return Finding(True, what, f"{shown} (floor {graph.lowest_psnr_db:.0f} dB)")


def _encode(bundle: Bundle, role: str, session: Session) -> str:
    """Encode the first golden picture with ``session`` in its role, and say what came of it. Raises
    DecantError.
    """
    from decant.decoder import Decoder
    from decant.formats.input_images import Picture
    from decant.settings import Settings

    pixels, layout = golden.pixels_of(bundle, bundle.golden[0].pixels), bundle.layout

    def load(needed: str) -> Session:
        if needed == role:
            return session
        return load_session(bundle, needed, GraphRequest(precision="float"), check_golden="never").session

    def finish(quality: int, latents: bytes) -> bytes:
        height, width = pixels.shape[:2]
        model_id = bytes.fromhex(bundle.model_id)[:8]
        return container.write(container.DcnFile(bundle.name, model_id, width, height, latents, quality))

    best = Settings(quality=layout.qualities or None)
    data = layout.encoder(bundle, load).encode(Picture(pixels), best, finish, "<golden picture>")
    floor = layout.encoding_floor_db
    if floor is None:
        return "gives latents that can be stored"
    decoder = Decoder(bundle, check_golden="never")  # the default one: what users see
    psnr = golden.psnr_db(decoder.decode(data), pixels)
    if not psnr >= floor:
        raise BundleError(
            f"bundle {bundle.name}: encodes a golden picture at {psnr:.1f} dB ({decoder.precision} decoder); "
            f"at least {floor:.0f} dB expected"
        )
    return (
        f"encodes a golden picture at {psnr:.1f} dB for the {decoder.precision} decoder "
        f"(floor {floor:.0f} dB)"
    )
