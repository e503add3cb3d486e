"""Graphs of the runtime ``native``: integer synthesis and hyper synthesis, made from the float graphs."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx
from decant.backends.session import Session
from decant.codec.decoder import GridDecoder
from decant.codec.layout import GridLayout
from decant.formats import container
from decant.formats.model_file import pack

from decant_export.common.family import Candidate
from decant_export.common.gate import Checks, session_of
from decant_export.common.variants import Variant
from decant_export.families.codec.integer import Case, tensors_of
from decant_export.families.codec.recorder import Recorder

PRECISION, RUNTIME = "int16", "native"


def variants(
    synthesis: onnx.ModelProto,
    hyper_mean: onnx.ModelProto,
    tables: Mapping[str, np.ndarray],
    cases: Sequence[Case],
    name: str,
    model: bytes,
) -> tuple[Variant, Variant]:
    """The hyper synthesis and the synthesis in integers, both in the model file of the bundle ``name``;
    ``tables`` are those of the layout, ``cases`` show the ranges of activations, ``model`` is the content of
    model.json. Raises ExportError, and BundleError for tensors that do not fit together.
    """
    pixels, means = tensors_of(synthesis, hyper_mean, tables, cases)
    model_id = hashlib.sha256(model).hexdigest()
    data = pack(name, model_id, json.loads(model)["latent"], tables, means, pixels)
    return (
        Variant("hyper_mean", PRECISION, RUNTIME, hyper_mean, (data,)),
        Variant("synthesis", PRECISION, RUNTIME, synthesis, (data,)),
    )


def cases_of(
    layout: GridLayout, hyper_mean: Session, synthesis: Session, files: Sequence[bytes]
) -> list[Case]:
    """What the float graphs are given while ``files``, each of one coding tile, are decoded."""
    mean, picture = Recorder(hyper_mean), Recorder(synthesis)
    decoder = GridDecoder(layout, mean, picture, overlap=False)
    for file in files:
        decoder.decode(container.parse(file))
    return [Case(*z, *rest) for z, rest in zip(mean.inputs, picture.inputs, strict=True)]


def candidates(
    graphs: tuple[Variant, Variant],
    name: str,
    decode: Callable[[Session, Session], Sequence[np.ndarray]],
    exact: Session,
    expected: Sequence[np.ndarray],
    checks: Callable[[Session], Checks],
) -> Iterator[Candidate]:
    """Hyper synthesis and synthesis, to be judged: ``decode`` gives the golden pictures by a mean and a
    synthesis, ``exact`` is the float synthesis, ``checks`` makes the checks of a synthesis with the mean it
    is given. ``name``: the bundle's.
    """
    hyper_mean, synthesis = graphs
    mean = session_of(hyper_mean, name)
    yield Candidate(hyper_mean, lambda session: decode(session, exact), expected)
    yield Candidate(synthesis, lambda session: decode(mean, session), expected, checks(mean))
