"""What families of one picture size share: a synthesis, an analysis, and latents of one shape."""

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from decant.backends.session import Session
from decant.bundles.bundle import canonical_json
from decant.formats import container
from decant.layouts.fixed import FixedLayout

from decant_export.common import family as families
from decant_export.common import images, reference, writing
from decant_export.common.checks import against_torch, calibrated
from decant_export.common.family import Candidate, Denoises, Named, Options, Plan, StaticGraph
from decant_export.common.gate import evenly, run_each, session_of
from decant_export.common.pictures import PICTURE
from decant_export.common.tensors import array
from decant_export.common.variants import PRECISIONS, default_floor_db, make, variants
from decant_export.common.writing import GoldenCase
from decant_export.errors import ExportError

GATED = 32  # pictures over which a variant is compared with the float graph, the golden ones among them
TUNED = 16  # pictures that decide which part of each range static int8 keeps; fewer would flatter it
GOLDEN = 4  # golden files
LATENT_CODING = "float16"
NO_LICENCE = "not stated; the decoder reproduces the images it was trained on, so their terms apply"


class FixedFamily(ABC):
    """A ``Family`` that decodes pictures of one size. A concrete one brings graphs, latents and a layout.

    ``model``: the checkpoint's network, with ``encode``, ``decode`` and ``decoder``. ``image``: (width,
    height) in pixels. ``batch``: pictures that PyTorch computes at once.
    """

    licence = NO_LICENCE
    one_thread = False
    own_options = frozenset({"denoiser", "latent_coding", "golden", "floors"})
    batch = 8

    def __init__(self, model: Any) -> None:
        self.model = model
        self.image: tuple[int, int] = self.size_of(model)

    def size_of(self, model: Any) -> tuple[int, int]:
        """(width, height) in pixels of what ``model`` decodes."""
        return (model.config.image_size, model.config.image_size)

    @abstractmethod
    def synthesis(self) -> onnx.ModelProto:
        """Latents float32 (n, ...) -> pixels uint8 (n, H, W, 3), with a float tensor ``pictures.PICTURE`` on
        the way.
        """

    @abstractmethod
    def analysis(self) -> onnx.ModelProto:
        """Pixels uint8 (n, H, W, 3) -> latents float32 (n, ...)."""

    def static(self, latents: np.ndarray) -> StaticGraph | None:
        """The synthesis in static int8, calibrated on ``latents``; None where there is no such form."""
        return None

    @abstractmethod
    def known_latents(self) -> np.ndarray | None:
        """Latents of the training set kept in the checkpoint, float32 (k, ...); None when it has none."""

    @abstractmethod
    def layout(self, coding: str, latents: np.ndarray) -> FixedLayout:
        """How files store latents: ``coding`` float16, float32 or uintK, measured over ``latents`` where it
        needs ranges. Raises ExportError.
        """

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Latents -> pictures float32 (n, 3, H, W) in [0, 1], by PyTorch."""
        return reference.of_latents(self.model.decode, latents, self.batch)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 (n, H, W, 3) -> latents float32 (n, ...), by PyTorch."""
        return reference.of_pixels(self.model.encode, pixels, self.batch)

    def tensors(self) -> Mapping[str, np.ndarray]:
        """See Family."""
        return {f"decoder.{name}": array(value) for name, value in self.model.decoder.state_dict().items()}

    def named_images(self, checkpoint_dir: Path, folder: Path | None) -> Named:
        """See Family."""
        return images.of_set(checkpoint_dir, folder)

    def plan(self, options: Options) -> Plan:
        """See Family. Raises ExportError where the checkpoint has no latents and ``images`` are not given."""
        name, own = options.name, options.own
        golden: int = own.get("golden", GOLDEN)
        pictures = self._pictures(options)
        synthesis, latents = self.synthesis(), self._latents(pictures, options.checkpoint)
        few = evenly(latents, golden)
        worst = against_torch(synthesis, few, PICTURE, self.decode(few), name)
        options.report(f"synthesis.float equals PyTorch to {worst:.1e}")
        layout = self.layout(own.get("latent_coding", LATENT_CODING), latents)
        compared = evenly(latents, max(golden, GATED))
        stored = np.stack([layout.unpack(layout.pack(latent)) for latent in compared])
        exact = session_of(make("synthesis", "float", "onnxruntime", synthesis), name)
        pixels = run_each(exact, stored)
        shown, denoiser = evenly(pixels, golden), self._denoiser(options)
        denoised = None if denoiser is None else denoiser.of_golden(shown)
        model = canonical_json(writing.model_description(self.image, layout, layout.tables(), self.tensors()))

        def static() -> onnx.ModelProto | None:
            graph = self.static(latents)
            # Tuned on others than the golden pictures, which are to judge the result.
            others = slice(1, None) if len(stored) > TUNED else slice(None)
            tuned = evenly(stored[others], TUNED), evenly(pixels[others], TUNED)
            return None if graph is None else calibrated(graph, *tuned, name)

        def candidates() -> Iterator[Candidate]:
            for variant in variants("synthesis", synthesis, static, options.precisions, options.runtimes):
                yield Candidate(variant, partial(run_each, inputs=stored), pixels)
            if options.encoder:
                yield from self._analyses(options, exact, golden, pixels if pictures is None else pictures)
            if denoiser is not None:
                yield from denoiser.candidates(shown, denoised)

        return Plan(
            model=model,
            tables=layout.tables(),
            golden=self._golden(layout, name, model, evenly(stored, golden), shown, denoised),
            candidates=candidates(),
            image=self.image,
            floors={p: default_floor_db(p) for p in PRECISIONS} | dict(own.get("floors", {})),
            golden_count=golden,
        )

    def _pictures(self, options: Options) -> np.ndarray | None:
        """uint8 (n, H, W, 3) of the images given; of a folder as many as the gate compares."""
        given = options.images
        if not isinstance(given, Path):
            return given
        named = self.named_images(Path(options.checkpoint), given)
        return np.stack([pixels for _, pixels in itertools.islice(named, GATED)])

    def _latents(self, pictures: np.ndarray | None, where: str) -> np.ndarray:
        known = self.known_latents()
        if known is not None:
            return known
        if pictures is None or not len(pictures):
            raise ExportError(
                f"{where} holds no latents of its set; give images (--images) to take them from"
            )
        return self.encode(pictures)

    def _analyses(
        self, options: Options, exact: Session, golden: int, pictures: np.ndarray
    ) -> Iterator[Candidate]:
        """Analysis graphs are compared by the pixels that their latents decode to."""
        model = self.analysis()
        pictures = evenly(pictures, max(golden, GATED))
        few = evenly(pictures, golden)
        worst = against_torch(model, few, model.graph.output[0].name, self.encode(few), options.name)
        options.report(f"analysis.float equals PyTorch to {worst:.1e}")

        def decode(session: Session) -> np.ndarray:
            return run_each(exact, run_each(session, pictures))

        expected = decode(session_of(make("analysis", "float", "onnxruntime", model), options.name))
        for runtime in options.runtimes:
            yield Candidate(make("analysis", "float", runtime, model), decode, expected)

    def _denoiser(self, options: Options) -> "_Denoiser | None":
        folder = options.own.get("denoiser")
        if folder is None:
            return None
        return _Denoiser(families.denoiser_of(families.load(folder)), self.image, options)

    def _golden(
        self,
        layout: FixedLayout,
        name: str,
        model: bytes,
        latents: np.ndarray,
        pixels: np.ndarray,
        denoised: np.ndarray | None,
    ) -> list[GoldenCase]:
        model_id = hashlib.sha256(model).digest()[:8]
        cases = []
        for i, latent in enumerate(latents):
            file = container.DcnFile(name, model_id, *self.image, layout.pack(latent))
            better = None if denoised is None else denoised[i]
            cases.append(GoldenCase(container.write(file), pixels[i], better))
        return cases


class _Denoiser:
    """The graph of a denoiser, compared with PyTorch, for pictures of one size."""

    def __init__(self, family: Denoises, image: tuple[int, int], options: Options) -> None:
        self._family, self._options = family, options
        self._model = family.denoiser(image)

    def of_golden(self, pixels: np.ndarray) -> np.ndarray:
        """What the float graph makes of the golden ``pixels``, uint8 (n, H, W, 3)."""
        name, model = self._options.name, self._model
        worst = against_torch(model, pixels, PICTURE, self._family.denoise(pixels), name)
        self._options.report(f"denoiser.float equals PyTorch to {worst:.1e}")
        return run_each(session_of(make("denoiser", "float", "onnxruntime", model), name), pixels)

    def candidates(self, pixels: np.ndarray, expected: np.ndarray | None) -> Iterator[Candidate]:
        """The graph for each runtime asked for."""
        assert expected is not None
        decode: Callable[[Session], np.ndarray] = partial(run_each, inputs=pixels)
        for runtime in self._options.runtimes:
            yield Candidate(make("denoiser", "float", runtime, self._model), decode, expected)
