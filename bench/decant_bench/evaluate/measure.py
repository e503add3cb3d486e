"""The quality of a bundle of any family, and of JPEG: every picture is encoded to a real file and decoded.

A bundle of one picture size gets each picture once, fitted to its size. A bundle with qualities gets whole
pictures at several qualities. JPEG codes the same pixels at its own qualities.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.formats.paths import takes_paths
from decant.process.cores import usable_cores

from decant_bench.common import metrics, record
from decant_bench.common.baselines import CODECS
from decant_bench.common.cases import BundleCase
from decant_bench.common.features import FeatureDistance
from decant_bench.common.fitting import ANY_SIZE
from decant_bench.common.measured import Comparison, rate_points
from decant_bench.common.pictures import Picture, PictureSet
from decant_bench.common.record import Record
from decant_bench.errors import BenchError
from decant_bench.evaluate import quality

QUALITIES = (10, 30, 50, 70, 90)  # of bundles that have them

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What to measure. ``qualities`` of the bundle (none: QUALITIES, where it has any), ``jpeg``'s; the
    bundle's ``precision``, ``runtime`` and ``device`` as Decoder takes them; ``ms_ssim``: measure it too,
    which takes twice the time of all else.
    """

    qualities: tuple[int, ...] = ()
    jpeg: tuple[int, ...] = quality.JPEG_QUALITIES
    precision: str = "auto"
    runtime: str = "auto"
    device: str = "cpu"
    ms_ssim: bool = True


@dataclass(frozen=True)
class Coder:
    """Pictures to files at each of ``qualities`` (None: it has none) and back."""

    label: str
    qualities: tuple[int | None, ...]
    encode: Callable[[int, Picture, int | None], bytes]  # the picture's number comes first
    decode: Callable[[bytes], np.ndarray]
    facts: dict[str, Any] = field(default_factory=dict)


@takes_paths
def bundle_coder(
    bundle: Bundle, pictures: PictureSet, options: Options, archive: Path | None = None
) -> Coder:
    """The bundle at work; its facts are those of the decoder that runs. ``archive``: ready files, for a
    bundle of one picture size (quality.encode). Raises what loading raises, BenchError for qualities that it
    does not have.
    """
    wish: dict[str, Any] = {name: getattr(options, name) for name in ("precision", "runtime", "device")}
    decoder = Decoder(bundle, threads=1, **wish)
    names = ("requested_device", "device", "runtime", "runtime_version", "precision")
    facts = {name: getattr(decoder, name) for name in names}
    case = BundleCase(bundle.name, 1, str(bundle.path), decoder.precision, decoder.runtime)
    facts |= {
        "name": bundle.name,
        "version": bundle.version,
        "family": bundle.family,
        "model_id": bundle.model_id,
        "decoder_bytes": sum(path.stat().st_size for path in case.files(bundle)),
    }
    label = f"{bundle.name} {decoder.precision}"
    if bundle.image == ANY_SIZE:
        if archive is not None:
            raise BenchError(
                f"bundle {bundle.name} has qualities and encodes pictures itself; leave --archive out"
            )
        encoder = Encoder(bundle)
        chosen = options.qualities or QUALITIES
        return Coder(
            label,
            chosen,
            lambda index, picture, quality: encoder.encode(picture.pixels, quality, source=picture.name),
            decoder.decode,
            facts,
        )
    if options.qualities:
        raise BenchError(f"bundle {bundle.name} has no qualities; leave --quality out")
    files = quality.encode(bundle, pictures, archive)
    return Coder(label, (None,), lambda index, picture, quality: files[index], decoder.decode, facts)


def jpeg_coder(qualities: Sequence[int]) -> Coder:
    """Pillow's default JPEG."""
    codec = CODECS["jpeg"]
    return Coder(
        "jpeg",
        tuple(qualities),
        lambda index, picture, quality: codec.encode(picture.pixels, quality),
        lambda data: codec.decode(data, 1),
    )


def measure(
    coders: Sequence[Coder],
    pictures: PictureSet,
    options: Options,
    distance: FeatureDistance | None = None,
    *,
    command: str | None = None,
    say: Say = lambda line: None,
) -> Record:
    """A record of kind ``evaluation``: a row a coder, a point a quality, a value a picture.

    A value of FIGURES is null if the picture is too small for the metric, if there are no features, and for
    the PSNR of a picture that decodes without any difference. Means are those of the others.
    """
    chosen = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(options).items()}
    config = {
        "options": chosen,
        "images": pictures.described(),
        "subjects": [coder.label for coder in coders],
        "feature_distance": None if distance is None else distance.name,
        "ssim": metrics.SSIM_PARAMETERS,
    }
    result = record.new("evaluation", config, command)
    result["pictures"] = pictures.listed()
    wanted = ("psnr_db", "ssim", "ssimulacra2", *(("ms_ssim",) if options.ms_ssim else ()))
    comparison = Comparison(wanted, distance)
    for coder in coders:
        row: dict[str, Any] = {"label": coder.label, "facts": coder.facts, "points": []}
        for chosen_quality in coder.qualities:
            say(f"{coder.label}{'' if chosen_quality is None else f', quality {chosen_quality}'}")
            row["points"].append(_point(coder, chosen_quality, pictures, comparison))
        result["rows"].append(row)
    return result


def shown_point(row: dict[str, Any]) -> dict[str, Any]:
    """The point of a row that pictures and distributions are shown of: the middle one."""
    points: list[dict[str, Any]] = row["points"]
    return points[len(points) // 2]


def worst(point: dict[str, Any], count: int = 10) -> list[int]:
    """Numbers of the pictures with the lowest PSNR, the worst first; exact ones last."""
    values = [np.inf if value is None else value for value in point["psnr_db"]]
    return [int(index) for index in np.argsort(values, kind="stable")[:count]]


def _point(coder: Coder, quality: int | None, pictures: PictureSet, comparison: Comparison) -> dict[str, Any]:
    def encode(index: int, picture: Picture) -> bytes:
        return coder.encode(index, picture, quality)

    (point,) = rate_points(pictures, quality, encode, [coder.decode], comparison, usable_cores())
    return point.as_dict()
