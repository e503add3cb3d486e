"""Chooses the limits of an int8 synthesis: it decodes extremes, and what loses goes to the float branch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from decant.backends.session import Session

from decant_export.common.extremes import extremes, saturated
from decant_export.common.gate import session_of
from decant_export.common.variants import make
from decant_export.families.codec.int8_graphs import StaticCodec
from decant_export.families.codec.judging import LOSS as GATE
from decant_export.families.codec.judging import Files, loss_db
from decant_export.families.codec.limits import Limits, lowered, reached
from decant_export.families.codec.relimiting import LimitedGraph

SEEDS = tuple(range(3, 9))  # of extremes; ranges and the gate have others
QUALITIES = (10, 60, 100)
# Of saturated squares alone, at the highest quality: at seeds 3 to 8 the limit that their latents reach had
# been put between those of one kind, red ones, of which a third lost 1.0 to 2.1 dB in int8.
SQUARES_SEEDS = tuple(range(100, 120))
LOSS = 0.5  # dB that an extreme may lose in int8 before it goes to the float branch


def choose(static: StaticCodec, coded: Files, photos: Sequence[np.ndarray]) -> float:
    """Lower the limits of ``static`` by what int8 loses on extremes; ``photos``: latents float32 (1, M, h, w)
    of photographs. Returns the share of these that the float branch decodes.
    """
    start = static.limits
    static.limits = Limits.of(np.full_like(start.both, np.inf))
    model = static.build(rearranged=True)
    static.limits = start
    session = session_of(make("synthesis", "int8", "onnxruntime", model), "codec")
    wrong, refused = losing(coded, session)
    seen = reached(static.latents, photos)
    static.limits = lowered(start, reached(static.latents, coded.latents(wrong)), seen, refused)
    return float(static.limits.beyond(seen).mean())


def choose_again(graph: LimitedGraph, coded: Files, photos: Sequence[bytes]) -> float:
    """As ``choose``, for a graph that is written already and keeps its weights; ``photos`` are files. Only
    what the gate would refuse is sent to the float branch: more would cost time for photographs.
    """
    wrong, refused = losing(coded, graph.always_int8())
    seen = graph.reached(coded, photos)
    graph.limits = lowered(graph.limits, graph.reached(coded, wrong[:refused]), seen, refused)
    return float(graph.limits.beyond(seen).mean())


def losing(coded: Files, int8: Session) -> tuple[list[bytes], int]:
    """The files of extremes that lose more than ``LOSS`` dB in the session ``int8``, most first, and of how
    many the gate would refuse the graph.
    """
    cases = coded.cases(saturated(), QUALITIES[1:])
    cases += [case for seed in SEEDS for case in coded.cases(extremes(seed).every, QUALITIES)]
    for seed in SQUARES_SEEDS:
        edges = extremes(seed).edges
        squares = {name: pixels for name, pixels in edges.items() if name.startswith("squares")}
        cases += coded.cases(squares, QUALITIES[-1:])
    decoded = coded.decode(int8, [case.file for case in cases])
    losses = np.array([loss_db(case, pixels) for case, pixels in zip(cases, decoded, strict=True)])
    order = [int(i) for i in np.argsort(-losses) if losses[i] > LOSS]
    return [cases[i].file for i in order], sum(losses[i] > GATE["extremes"] for i in order)
