"""What a latency run measures: a bundle's graph on a runtime, or a codec, each with a number of threads.

Imports nothing heavy at the top: the worker process that measures import time and memory imports this file.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from decant.bundles.bundle import Bundle
    from decant.decoder import Decoder
    from decant.formats.manifest import Graph

Decode = Callable[[bytes], "np.ndarray"]


@dataclass(frozen=True)
class BenchmarkCase:
    """``kind`` is model or codec. A codec has ``name`` (its setting, jpeg-q90) and ``threads``; a model also
    has the folder of its bundle, precision, runtime, device asked for, and whether the denoiser follows.
    """

    kind: str
    name: str
    threads: int = 1
    bundle: str = ""
    precision: str = ""
    runtime: str = ""
    device: str = ""
    denoise: bool = False

    @property
    def key(self) -> str:
        """Unique within a run, and the same for the same thing in another run."""
        if self.kind == "codec":
            return f"{self.name} t{self.threads}"
        denoise = "+denoiser" if self.denoise else ""
        return f"{self.name}.{self.precision}{denoise} {self.runtime} {self.device} t{self.threads}"

    @property
    def label(self) -> str:
        """What it is called in a table: without runtime, device and threads, which have columns."""
        return (
            self.name
            if self.kind == "codec"
            else f"{self.name} {self.precision}{' + denoiser' * self.denoise}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def prepare(self) -> None:
        """Import everything that ``load`` and decoding will need. Raises MissingExtraError."""
        if self.kind == "codec":
            import numpy  # noqa: F401
            from PIL import Image  # noqa: F401

            from decant_bench.common import baselines

            if isinstance(baselines.CODECS[baselines.setting(self.name).codec], baselines.JpegXl):
                import imagecodecs  # noqa: F401
            return
        import decant.decoder  # noqa: F401
        from decant.backends import native as integer
        from decant.backends import onnxruntime, openvino

        {
            "native": integer.kernels_module,
            "onnxruntime": onnxruntime.onnxruntime_module,
            "openvino": openvino.openvino_module,
        }[self.runtime]()

    def load(self, file: Path) -> Decode:
        """Make ready to decode. A model: its files are read and its session is built. A codec has nothing to
        load but the picture: ``file`` is read. Raises what Decoder raises, or OSError.
        """
        if self.kind == "codec":
            file.read_bytes()
            return self.codec()
        return self.decoder().decode

    def codec(self) -> Decode:
        """The decoding function of a codec."""
        from decant_bench.common.baselines import setting

        return setting(self.name).decoder(self.threads)

    def decoder(self, check_golden: Any = "once") -> "Decoder":
        """The decoder of a model. By default as a client has it: the first load on a machine checks it
        against the golden files, and that is remembered.
        """
        from decant.decoder import Decoder

        return Decoder(
            Path(self.bundle),
            runtime=self.runtime,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            denoise=self.denoise,
            check_golden=check_golden,
        )


def from_dict(described: dict[str, Any]) -> BenchmarkCase:
    """What ``BenchmarkCase.as_dict`` gave."""
    return BenchmarkCase(**described)


def model_subjects(
    bundle: "Bundle", runtimes: tuple[str, ...], threads: tuple[int, ...], device: str = "cpu"
) -> list[BenchmarkCase]:
    """Every synthesis graph of ``bundle`` for ``runtimes`` x ``threads``, without and with the denoiser where
    there is one for that runtime.
    """
    mending = {graph.runtime for graph in bundle.graphs if graph.role == "denoiser"}
    found = []
    for graph in bundle.graphs:
        if graph.role != "synthesis" or graph.runtime not in runtimes:
            continue
        for denoise in (False, True) if graph.runtime in mending else (False,):
            for count in threads:
                found.append(
                    BenchmarkCase(
                        "model",
                        bundle.name,
                        count,
                        str(bundle.path),
                        graph.precision,
                        graph.runtime,
                        device,
                        denoise,
                    )
                )
    return found


def codec_subjects(labels: tuple[str, ...], threads: tuple[int, ...]) -> list[BenchmarkCase]:
    """Each setting once, or once per number of threads where its decoder can use them. Raises ValueError."""
    from decant_bench.common.baselines import CODECS, setting

    found = []
    for label in labels:
        chosen = setting(label)
        counts = threads if CODECS[chosen.codec].threaded else (1,)
        found += [BenchmarkCase("codec", chosen.label, count) for count in counts]
    return found


def graphs_of(subject: BenchmarkCase, bundle: "Bundle") -> "list[Graph]":
    """The graphs that decoding runs: synthesis, a codec's hyper_mean, and the denoiser where asked for."""
    graphs = [bundle.graph("synthesis", subject.precision, subject.runtime)]
    means = [g for g in bundle.graphs if (g.role, g.runtime) == ("hyper_mean", subject.runtime)]
    graphs += ([g for g in means if g.precision == subject.precision] or means)[:1]
    if subject.denoise:
        graphs.append(bundle.graph("denoiser", None, subject.runtime))
    return graphs


def files_of(subject: BenchmarkCase, bundle: "Bundle | None") -> list[Path]:
    """The files of a bundle that loading this subject reads; nothing for a codec."""
    if bundle is None or subject.kind == "codec":
        return []
    graphs = graphs_of(subject, bundle)
    names = [entry.path for graph in graphs for entry in graph.files]
    names += ["bundle.json", "model.json"]
    paths = [bundle.path / name for name in names]
    tables = bundle.path / "tables.safetensors"
    return [*paths, tables] if tables.exists() else paths
