from typing import Any

from numpy.typing import NDArray

Problem = tuple[int, tuple[int, int, int]] | None

def tables(
    radius: NDArray[Any],
    runs: NDArray[Any],
    counts: NDArray[Any],
    run_counts: NDArray[Any],
    channels: int,
    class_width: int,
    context_width: int,
    scale_weight: NDArray[Any],
    magnitude: NDArray[Any],
    stages: tuple[tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]], ...],
    /,
) -> Any: ...
def decode_group(
    tables: Any,
    stream: bytes | memoryview,
    hidden: NDArray[Any],
    height: int,
    width: int,
    offset: NDArray[Any],
    rows: int,
    columns: int,
    out: NDArray[Any],
    /,
) -> Problem: ...
def decode_part(
    tables: Any, stream: bytes | memoryview, classes: NDArray[Any], out: NDArray[Any], /
) -> Problem: ...
