"""Chooses the limits of an int8 synthesis: it decodes extremes, and what loses goes to the float branch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decant_export.common.extremes import extremes, saturated
from decant_export.common.gate import session_of
from decant_export.common.variants import make
from decant_export.families.codec.int8_graphs import StaticCodec
from decant_export.families.codec.judging import LOSS as GATE
from decant_export.families.codec.judging import Files, loss_db
from decant_export.families.codec.limits import Limits, lowered, reached

SEEDS = tuple(range(3, 9))  # of extremes; ranges and the gate have others
QUALITIES = (10, 60, 100)
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
    cases = coded.cases(saturated(), QUALITIES[1:])
    cases += [case for seed in SEEDS for case in coded.cases(extremes(seed).every, QUALITIES)]
    decoded = coded.decode(session, [case.file for case in cases])
    losses = np.array([loss_db(case, pixels) for case, pixels in zip(cases, decoded, strict=True)])
    order = [int(i) for i in np.argsort(-losses) if losses[i] > LOSS]
    wrong = reached(static.latents, coded.latents([cases[i].file for i in order]))
    seen = reached(static.latents, photos)
    refused = sum(losses[i] > GATE["extremes"] for i in order)
    static.limits = lowered(start, wrong, seen, int(refused))
    return float(static.limits.beyond(seen).mean())
