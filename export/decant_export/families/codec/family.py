"""The family ``codec``: settled weights, counted tables, graphs of every precision, golden files."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from decant.backends.session import Session
from decant.bundles.bundle import canonical_json
from decant.codec.decoder import GridDecoder
from decant.formats import container
from decant_train.codec.model import Codec
from decant_train.codec.model import part as part_of

from decant_export.common import writing
from decant_export.common.family import Candidate, Named, Options, Plan
from decant_export.common.gate import no_checks, session_of
from decant_export.common.tensors import array
from decant_export.common.variants import make
from decant_export.common.writing import GoldenCase
from decant_export.errors import ExportError
from decant_export.families.codec import adjoint as codec_adjoint
from decant_export.families.codec import float_graphs as codec_graphs
from decant_export.families.codec import native as codec_native
from decant_export.families.codec import tables as codec_tables
from decant_export.families.codec.choosing import choose
from decant_export.families.codec.int8_graphs import StaticCodec
from decant_export.families.codec.judging import Files, Judge
from decant_export.families.codec.network import FloatSynthesis
from decant_export.families.codec.pictures import (
    CROP,
    calibration,
    calibration_crops,
    golden_extremes,
    golden_photos,
    judged_photos,
)
from decant_export.families.codec.tables import Latents
from decant_export.families.codec.torch_check import against_torch

FLOORS = {"float": 48.0, "int8": 40.0, "int16": 48.0}
# dB that another processor may lose on the golden files, by precision; int16 is the same everywhere.
MARGINS = {"int8": 4.0, "int16": 0.5}
PICTURES = 128  # crops that tables are counted on
# Kodak's size, for kMAC per pixel.
IMAGE = (768, 512)
SIZES = {"height": 512, "width": 768, "h": 32, "w": 48, "hyper_h": 8, "hyper_w": 12}


class CodecFamily:
    """The model of a codec's checkpoint. See ``decant_export.common.family.Family``."""

    licence = "not stated"
    one_thread = True
    own_options = frozenset({"pictures", "part", "encoder_of"})

    def __init__(self, model: Codec) -> None:
        self.model = model

    def tensors(self) -> dict[str, np.ndarray]:
        """See Family."""
        model = self.model
        deciding = {f"synthesis.{name}": value for name, value in model.synthesis.state_dict().items()}
        deciding |= {f"mean.{name}": value for name, value in model.hyperprior.mean.state_dict().items()}
        if model.hyperprior.prediction is not None:
            deciding["prediction.weight"] = model.hyperprior.prediction_weight()
        return {name: array(tensor) for name, tensor in sorted(deciding.items())}

    def float_graphs(self, *, encoder: bool) -> dict[str, onnx.ModelProto]:
        """Role -> graph; without ``encoder`` those that a decoder needs."""
        graphs = {
            "hyper_mean": codec_graphs.hyper_mean(self.model),
            "synthesis": codec_graphs.synthesis(self.model),
        }
        if encoder:
            graphs |= {
                "analysis": codec_graphs.analysis(self.model),
                "hyper_analysis": codec_graphs.hyper_analysis(self.model),
                "synthesis_adjoint": codec_adjoint.adjoint(self.model),
            }
            if self.model.config.predicted_channels:
                graphs["prediction"] = codec_graphs.prediction(self.model)
        return graphs

    def named_images(self, checkpoint_dir: Path, folder: Path | None) -> Named:
        """Raises ExportError: a codec has an encoder of its own."""
        raise ExportError("a codec's files are made by decant encode; leave --archive out")

    def plan(self, options: Options) -> Plan:
        """See Family. ``images``: a folder or packed file of photos, whose training part gives ``pictures``
        crops for tables and ranges; these crops themselves, uint8 (n, CROP, CROP, 3); or the photos in the
        wheels when None.
        """
        part, images = options.own.get("part"), options.images
        if isinstance(images, np.ndarray) and images.shape[1:] != (CROP, CROP, 3):
            raise ExportError(
                f"a codec takes crops of {CROP}x{CROP} pixels, a folder, or a packed file of photos"
            )
        family = CodecFamily(codec_graphs.settled(self.model if part is None else part_of(self.model, part)))
        if isinstance(images, np.ndarray):
            crops = list(images)
        else:
            crops = calibration_crops(images, options.own.get("pictures", PICTURES))
        return _Export(family, crops, options).plan()


class _Export:
    """The export of one ``family``, whose weights are settled, with the pictures ``crops``."""

    def __init__(self, family: CodecFamily, crops: list[np.ndarray], options: Options) -> None:
        self.options, self.crops = options, crops
        self.model = model = family.model
        measured = codec_tables.encoder_of(model, crops)
        self.latents = codec_tables.with_targets(measured, crops, codec_tables.latents_of(model, crops))
        self.layout, self.tables = codec_tables.layout_of(measured, self.latents)
        options.report(f"tables counted on {len(crops)} crops of {CROP} pixels")
        self.graphs = family.float_graphs(encoder=options.encoder)
        photos = golden_photos()
        against_torch(model, self.graphs, photos[0][0], options.report)
        self.description = canonical_json(
            writing.model_description(
                (0, 0), self.layout, dict(sorted(self.tables.items())), family.tensors()
            )
        )
        self.model_id = hashlib.sha256(self.description).digest()
        self.mean = self._session("hyper_mean")
        self.synthesis = self._session("synthesis")
        self.files = [self.encode(*shown) for shown in [*photos, *golden_extremes()]]
        self.expected = self.decode(self.mean, self.synthesis)

    def plan(self) -> Plan:
        """See Family."""
        golden = [GoldenCase(*case) for case in zip(self.files, self.expected, strict=True)]
        return Plan(
            model=self.description,
            tables=self.tables,
            golden=golden,
            candidates=self.candidates(),
            image=IMAGE,
            floors=FLOORS,
            golden_count=len(golden),
            margins=MARGINS,
            sizes=SIZES,
        )

    def candidates(self) -> Iterator[Candidate]:
        """Every graph: float and int8 of each runtime, the integer graphs, and the encoder's unjudged."""
        precisions, static, judge = self.options.precisions, None, None
        if "int8" in precisions:
            network = FloatSynthesis.of(self.graphs["synthesis"])
            coded = Files(self.layout, self.mean, network, self.encode, self.options.name)
            photos = self._decoded()
            static = StaticCodec(network, coded.calibration(photos))
            share = choose(static, coded, photos)
            self.options.report(f"int8: the float branch decodes {share:.1%} of {len(photos)} crops")
            judge = coded.judged(judged_photos())
        for runtime in self.options.runtimes:
            yield self._float("hyper_mean", runtime)
            for precision in precisions:
                if precision == "float":
                    yield self._float("synthesis", runtime)
                elif precision == "int8" and static is not None and judge is not None:
                    model = static.build(rearranged=runtime == "onnxruntime")
                    variant = make("synthesis", precision, runtime, model)
                    yield Candidate(variant, partial(self.decode, self.mean), self.expected, judge)
        if codec_native.PRECISION in precisions:
            yield from self._integer(judge)
        for role, graph in self.graphs.items():
            if role not in ("hyper_mean", "synthesis"):
                yield Candidate(make(role, "float", "onnxruntime", graph))

    def _float(self, role: str, runtime: str) -> Candidate:
        variant = make(role, "float", runtime, self.graphs[role])
        if role == "synthesis":
            return Candidate(variant, partial(self.decode, self.mean), self.expected)
        return Candidate(variant, lambda session: self.decode(session, self.synthesis), self.expected)

    def _integer(self, judge: Judge | None) -> Iterator[Candidate]:
        """The graphs of the runtime ``native``."""
        calibrating = [self.encode(*shown, model_id=bytes(8)) for shown in calibration(self.crops)]
        cases = codec_native.cases_of(self.layout, self.mean, self.synthesis, calibrating)
        return codec_native.candidates(
            codec_native.variants(
                self.graphs["synthesis"],
                self.graphs["hyper_mean"],
                self.tables,
                cases,
                self.options.name,
                self.description,
            ),
            self.options.name,
            self.decode,
            self.synthesis,
            self.expected,
            lambda mean: no_checks if judge is None else replace(judge, mean=mean),
        )

    def _session(self, role: str) -> Session:
        return session_of(make(role, "float", "onnxruntime", self.graphs[role]), self.options.name)

    def encode(self, pixels: np.ndarray, quality: int, model_id: bytes | None = None) -> bytes:
        """A .dcn file of a picture uint8 (H, W, 3) of at most one coding tile, plainly rounded."""
        model, layout = self.model, self.layout
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
        (found,) = codec_tables.latents_of(model, [padded])
        row, shape = layout.quality(quality), layout.grid(width, height)
        inside = Latents(found.y[:, : shape.h, : shape.w], found.hyper)
        z, _, scale_indices, symbols = codec_tables.symbols_of(model, layout, inside, quality)
        payload = layout.write(layout.encode_hyper(z, row), [layout.encode_tile(symbols, scale_indices)])
        made_by = (self.model_id if model_id is None else model_id)[:8]
        file = container.DcnFile(self.options.name, made_by, width, height, payload, quality=quality)
        return container.write(file)

    def decode(self, mean: Session, synthesis: Session) -> list[np.ndarray]:
        """uint8 (H, W, 3) each: what these graphs make of the golden files."""
        decoder = GridDecoder(self.layout, mean, synthesis, overlap=False)
        return [decoder.decode(container.parse(file)) for file in self.files]

    def _decoded(self) -> list[np.ndarray]:
        """Dequantized latents (1, M, h, w) at qualities all over the range: the synthesis's input."""
        found = []
        for i, item in enumerate(self.latents):
            quality = 100 - 7 * i % 60
            _, mean, _, symbols = codec_tables.symbols_of(self.model, self.layout, item, quality)
            step = self.layout.quality(quality).step[:, None, None]
            found.append((symbols.astype(np.float32) * step + mean)[None])
        return found
