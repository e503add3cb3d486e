from typing import Any

from numpy.typing import NDArray

Problem = tuple[int, tuple[int, int, int]] | None

def tables(
    radius: NDArray[Any],
    runs: NDArray[Any],
    counts: NDArray[Any],
    run_counts: NDArray[Any],
    channels: int,
    hyper: int,
    class_width: int,
    context_width: int,
    mixed_width: int,
    hidden_weight: NDArray[Any],
    hidden_bias: NDArray[Any],
    out_weight: NDArray[Any],
    magnitude: NDArray[Any],
    stages: tuple[tuple[Any, ...], ...],
    /,
) -> Any: ...
def decode_group(
    tables: Any,
    stream: bytes | memoryview,
    v: NDArray[Any],
    place: tuple[int, int, int, int],
    offset: NDArray[Any],
    step: NDArray[Any],
    shape: tuple[int, int],
    out: NDArray[Any],
    added: NDArray[Any],
    /,
) -> Problem: ...
def decode_part(
    tables: Any, stream: bytes | memoryview, classes: NDArray[Any], out: NDArray[Any], /
) -> Problem: ...
