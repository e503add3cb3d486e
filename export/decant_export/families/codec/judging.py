"""Files that an int8 synthesis is calibrated and judged on, and the judgement: photos and extremes apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from decant.backends.session import Session
from decant.codec.decoder import GridDecoder
from decant.codec.layout import GridLayout
from decant.formats import container

from decant_export.common.extremes import extremes
from decant_export.common.gate import Check, session_of
from decant_export.common.variants import make
from decant_export.families.codec.int8_graphs import Calibration
from decant_export.families.codec.network import LATENTS, FloatSynthesis
from decant_export.families.codec.recorder import Recorder

CALIBRATING, JUDGING = 1, 2  # seeds of extremes
# Most dB that int8 may lose against float, to the original. What float has beyond CLEAR dB does not count:
# the rounding of int8 alone, about 52 dB to float, costs 1 dB there, and nobody sees it.
LOSS = {"photos": 0.5, "extremes": 1.0}
CLEAR = 46.0
CALIBRATION_QUALITIES = (40, 70, 100)
JUDGED_QUALITIES = {"photos": (30, 60, 90), "extremes": (10, 60, 100)}

# Pixels uint8 (H, W, 3) and a quality -> a .dcn file.
Encode = Callable[[np.ndarray, int], bytes]


@dataclass(frozen=True)
class Case:
    """A picture uint8 (H, W, 3), its file, and what the float graphs decode of that."""

    name: str
    pixels: np.ndarray
    file: bytes
    decoded: np.ndarray


class Files:
    """Encodes and decodes files of one codec: ``mean`` is the session of hyper_mean, ``exact`` that of the
    float ``synthesis``.
    """

    def __init__(
        self, layout: GridLayout, mean: Session, synthesis: FloatSynthesis, encode: Encode, name: str
    ) -> None:
        self._layout, self._mean, self.encode = layout, mean, encode
        self.exact = session_of(make("synthesis", "float", "onnxruntime", synthesis.graph), name)
        graph, latents = synthesis.begun()
        begun = graph.model(latents, "float32", [1, synthesis.channels, "h", "w"])
        self._latents = session_of(make(LATENTS, "float", "onnxruntime", begun), name)

    def decode(
        self, synthesis: Session, files: Sequence[bytes], mean: Session | None = None
    ) -> list[np.ndarray]:
        """uint8 (H, W, 3) of each file, by the session ``synthesis``, with another ``mean`` where given."""
        decoder = GridDecoder(self._layout, mean or self._mean, synthesis, overlap=False)
        return [decoder.decode(container.parse(file)) for file in files]

    def latents(self, files: Sequence[bytes]) -> list[np.ndarray]:
        """Dequantized latents float32 (1, M, h, w) of each file of one window."""
        recorder = Recorder(self._latents, _black)
        self.decode(recorder, files)
        return [self._latents.run(*inputs) for inputs in recorder.inputs]

    def cases(self, pictures: Mapping[str, np.ndarray], qualities: Sequence[int]) -> list[Case]:
        """Each picture at each quality, decoded by the float graph."""
        named = [(f"{name}, quality {q}", pixels, q) for name, pixels in pictures.items() for q in qualities]
        files = [self.encode(pixels, q) for _, pixels, q in named]
        decoded = self.decode(self.exact, files)
        return [Case(n, p, f, d) for (n, p, _), f, d in zip(named, files, decoded, strict=True)]

    def calibration(self, photos: Sequence[np.ndarray]) -> Calibration:
        """``photos``, latents float32 (1, M, h, w) each, and the latents of extremes."""
        seen = extremes(CALIBRATING)

        def latents(pictures: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return self.latents([self.encode(p, q) for p in pictures.values() for q in CALIBRATION_QUALITIES])

        return Calibration(photos, latents(seen.flats), latents(seen.edges), latents(seen.busy))

    def judged(self, photos: Mapping[str, np.ndarray]) -> Judge:
        """The judge of sessions on ``photos`` and on extremes that calibration did not see."""
        sets = {"photos": photos, "extremes": extremes(JUDGING).every}
        return Judge(self, {name: self.cases(shown, JUDGED_QUALITIES[name]) for name, shown in sets.items()})


@dataclass(frozen=True)
class Judge:
    """Compares a synthesis with float on ``cases``, by kind; with ``mean`` instead of that of ``files``."""

    files: Files
    cases: Mapping[str, Sequence[Case]]
    mean: Session | None = None

    def __call__(self, session: Session) -> list[Check]:
        """The check of each kind of pictures."""
        return [
            compared(kind, cases, self.files.decode(session, [case.file for case in cases], self.mean))
            for kind, cases in self.cases.items()
        ]


def compared(pictures: str, cases: Sequence[Case], decoded: Sequence[np.ndarray]) -> Check:
    """The largest loss of PSNR, in dB, of ``decoded`` against what float decodes of ``cases``."""
    losses = [loss_db(case, pixels) for case, pixels in zip(cases, decoded, strict=True)]
    worst = int(np.argmax(losses))
    return Check(pictures, len(cases), cases[worst].name, losses[worst], LOSS[pictures])


def loss_db(case: Case, pixels: np.ndarray) -> float:
    """dB of PSNR to the original that ``pixels`` lose against float, which counts to CLEAR dB; 0 or more."""
    exact = min(_psnr_db(case.decoded, case.pixels), CLEAR)
    return max(exact - _psnr_db(pixels, case.pixels), 0.0)


def _psnr_db(pixels: np.ndarray, original: np.ndarray) -> float:
    error = float(np.square(pixels.astype(np.float64) - original).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _black(symbols: np.ndarray, *_: np.ndarray) -> np.ndarray:
    """A black picture of the size that a synthesis of ``symbols`` (1, M, h, w) makes."""
    height, width = symbols.shape[2:]
    return np.zeros((1, 16 * height, 16 * width, 3), np.uint8)
