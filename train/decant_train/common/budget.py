"""Helpers of training loops: the device, the used part of the budget, the learning rate, averaged weights."""

import ctypes
import logging
import math

import torch
from torch import nn

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def device_of(name: str) -> torch.device:
    """The device called ``name``; "auto" is cuda when there is one, else the CPU."""
    return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


def used(count: int, limit: int, elapsed_s: float, max_minutes: float) -> float:
    """Fraction of the budget used, 0..1; the tighter of ``count`` and time. A limit of 0 is none."""
    by_count = count / limit if limit else 0.0
    by_minutes = elapsed_s / (60 * max_minutes) if max_minutes else 0.0
    return min(1.0, max(by_count, by_minutes))


PRECISIONS = ("auto", "bf16", "float32")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of networks: bfloat16, float32, or bfloat16 if that is fast ("auto")."""
    enabled = precision == "bf16" or (precision == "auto" and bfloat16_is_fast(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def cosine(part: float, least: float) -> float:
    """Factor of the learning rate when ``part`` (0..1) of the budget is used: from 1 down to ``least``."""
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * part))


def rate_factor(step: int, done: float, *, warmup: int, decay: float) -> float:
    """Factor of the learning rates at ``step``, with the part ``done`` of the budget used: a rise over
    ``warmup`` steps, and a cosine to 2 % over the last ``decay`` of the budget.
    """
    falling = max(0.0, 1 - (1 - done) / decay) if decay else 0.0
    return min(1.0, (step + 1) / max(warmup, 1)) * cosine(falling, 0.02)


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether ``device`` has bfloat16 multiplications. A CPU without them takes three times as long as with
    float32.
    """
    if device.type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the parameters of ``averaged`` towards those of ``model``; their old weight is ``keep``."""
    for mean, value in zip(averaged.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1 - keep)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of returning it: a step on a CPU otherwise spends a tenth of
    its time on page faults.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):
        log.debug("no glibc here: the allocator is left as it is")
