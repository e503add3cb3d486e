"""What is timed: a bundle's graph on a runtime, or a codec, each with a number of threads.

Imports nothing heavy at the top: the worker process that measures import time and memory imports this file.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from decant.bundles.bundle import Bundle
    from decant.decoder import Decoder
    from decant.formats.manifest import Graph

Decode = Callable[[bytes], "np.ndarray"]
Streaming = Callable[[Iterable[bytes]], "Iterable[np.ndarray]"]  # many files -> their pictures, one by one


@dataclass(frozen=True)
class CodecCase:
    """A format's decoder: ``name`` is its setting (jpeg-q90). The other fields are those of a record's
    row.
    """

    name: str
    threads: int = 1
    bundle: str = ""
    precision: str = ""
    runtime: str = ""
    device: str = ""
    denoise: bool = False
    kind: str = "codec"

    @property
    def key(self) -> str:
        """Unique within a run, and the same for the same thing in another run."""
        return f"{self.name} t{self.threads}"

    @property
    def label(self) -> str:
        """What it is called in a table: without threads, which have a column."""
        return self.name

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def prepare(self) -> None:
        """Import everything that ``load`` and decoding will need. Raises ImportError."""
        import numpy  # noqa: F401

        from decant_bench.common import baselines

        baselines.CODECS[baselines.setting(self.name).codec].prepare()

    def load(self, file: Path) -> Decode:
        """Read ``file``, for a codec has nothing to load but the picture; the decoding function. Raises
        OSError.
        """
        file.read_bytes()
        return self.decoding()

    def decoding(self) -> Decode:
        """The decoding function."""
        from decant_bench.common.baselines import setting

        return setting(self.name).decoder(self.threads)

    def streaming(self, threads: int) -> Streaming:
        """A function that decodes many files, ``threads`` at a time, each on one thread."""
        from decant_bench.common.baselines import setting

        decode = setting(self.name).decoder(1)
        return lambda datas: map(decode, datas) if threads == 1 else _few_ahead(decode, datas, threads)

    def open(self) -> "tuple[Decode, Decoder | None]":
        """The decoding function, and no decoder."""
        return self.decoding(), None

    def files(self, bundle: "Bundle | None") -> list[Path]:
        """No files but the picture's."""
        return []


def _few_ahead(decode: Decode, datas: Iterable[bytes], threads: int) -> "Iterator[np.ndarray]":
    """Pictures in order from a pool of threads, a few ahead of those taken; without decant in the process."""
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Any] = deque()
        for data in datas:
            waiting.append(pool.submit(decode, data))
            if len(waiting) >= 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True)
class BundleCase:
    """A synthesis graph of the bundle ``name`` in the folder ``bundle``: precision, runtime, device asked
    for, and whether the denoiser follows.
    """

    name: str
    threads: int
    bundle: str
    precision: str
    runtime: str
    device: str = ""
    denoise: bool = False
    kind: str = "model"

    @property
    def key(self) -> str:
        """Unique within a run, and the same for the same thing in another run."""
        denoise = "+denoiser" if self.denoise else ""
        return f"{self.name}.{self.precision}{denoise} {self.runtime} {self.device} t{self.threads}"

    @property
    def label(self) -> str:
        """What it is called in a table: without runtime, device and threads, which have columns."""
        return f"{self.name} {self.precision}{' + denoiser' * self.denoise}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def prepare(self) -> None:
        """Import everything that ``load`` and decoding will need. Raises MissingExtraError."""
        import decant.decoder  # noqa: F401
        from decant.backends import native as integer
        from decant.backends import onnxruntime, openvino

        {
            "native": integer.kernels_module,
            "onnxruntime": onnxruntime.onnxruntime_module,
            "openvino": openvino.openvino_module,
        }[self.runtime]()

    def load(self, file: Path) -> Decode:
        """Read the bundle's files and build its session; the decoding function. Raises what Decoder
        raises.
        """
        return self.decoder().decode

    def open(self) -> "tuple[Decode, Decoder | None]":
        """The decoding function and its decoder, checked against the golden files. Raises what Decoder
        raises.
        """
        decoder = self.decoder("always")
        return decoder.decode, decoder

    def decoder(self, check_golden: Any = "once") -> "Decoder":
        """The decoder. By default as a client has it: the first load on a machine checks it against the
        golden files, and that is remembered.
        """
        from decant.decoder import Decoder

        return Decoder(
            Path(self.bundle),
            runtime=self.runtime,
            device=self.device or "cpu",
            precision=self.precision,
            threads=self.threads,
            denoise=self.denoise,
            check_golden=check_golden,
        )

    def streaming(self, threads: int) -> Streaming:
        """A function that decodes many files on ``threads`` threads. Raises what Decoder raises."""
        return replace(self, threads=threads).decoder().decode_iter

    def graphs(self, bundle: "Bundle") -> "list[Graph]":
        """The graphs that decoding runs: synthesis, a codec's hyper_mean, and the denoiser where asked
        for.
        """
        graphs = [bundle.graph("synthesis", self.precision, self.runtime)]
        means = [g for g in bundle.graphs if (g.role, g.runtime) == ("hyper_mean", self.runtime)]
        graphs += ([g for g in means if g.precision == self.precision] or means)[:1]
        if self.denoise:
            graphs.append(bundle.graph("denoiser", None, self.runtime))
        return graphs

    def files(self, bundle: "Bundle | None") -> list[Path]:
        """The files of ``bundle`` that loading reads; none where it is None."""
        if bundle is None:
            return []
        names = dict.fromkeys(entry.path for graph in self.graphs(bundle) for entry in graph.files)
        paths = [bundle.path / name for name in [*names, "bundle.json", "model.json"]]
        tables = bundle.path / "tables.safetensors"
        return [*paths, tables] if tables.exists() else paths


Case = BundleCase | CodecCase
_KINDS: dict[str, type[BundleCase] | type[CodecCase]] = {"model": BundleCase, "codec": CodecCase}


def from_dict(described: dict[str, Any]) -> Case:
    """What ``as_dict`` of a case gave."""
    return _KINDS[described["kind"]](**described)


def bundle_cases(
    bundle: "Bundle", runtimes: tuple[str, ...], threads: tuple[int, ...], device: str = "cpu"
) -> list[BundleCase]:
    """Every synthesis graph of ``bundle`` for ``runtimes`` x ``threads``, without and with the denoiser where
    there is one for that runtime.
    """
    mending = {graph.runtime for graph in bundle.graphs if graph.role == "denoiser"}
    return [
        BundleCase(bundle.name, count, str(bundle.path), graph.precision, graph.runtime, device, denoise)
        for graph in bundle.graphs
        if graph.role == "synthesis" and graph.runtime in runtimes
        for denoise in ((False, True) if graph.runtime in mending else (False,))
        for count in threads
    ]


def default_case(bundle: "Bundle", threads: int = 1) -> BundleCase:
    """The graph, runtime and precision that a client gets here who asks for nothing. Raises what Decoder
    raises.
    """
    from decant.decoder import Decoder

    chosen = Decoder(bundle, threads=threads)
    return BundleCase(bundle.name, threads, str(bundle.path), chosen.precision, chosen.runtime, "cpu")


def codec_cases(labels: tuple[str, ...], threads: tuple[int, ...]) -> list[CodecCase]:
    """Each setting once, or once per number of threads where its decoder can use them. Raises ValueError."""
    from decant_bench.common.baselines import CODECS, setting

    found = []
    for label in labels:
        chosen = setting(label)
        counts = threads if CODECS[chosen.codec].threaded else (1,)
        found += [CodecCase(chosen.label, count) for count in counts]
    return found


def refused_at_export(
    bundle: "Bundle", runtimes: tuple[str, ...], threads: int
) -> list[tuple[BundleCase, str]]:
    """The variants of ``bundle`` that its export left out, and why."""
    return [
        (
            BundleCase(bundle.name, threads, str(bundle.path), entry["precision"], entry["runtime"]),
            f"not exported: {entry.get('reason') or 'below its floor'}",
        )
        for entry in bundle.manifest.raw.get("refused", [])
        if entry.get("role") == "synthesis" and entry.get("runtime") in runtimes
    ]
