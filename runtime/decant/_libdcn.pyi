from typing import Any

from numpy.typing import NDArray

Layer = tuple[int, int, int, NDArray[Any], NDArray[Any], NDArray[Any]]
Problem = tuple[int, tuple[int, int, int]] | None

def kernels() -> str: ...
def model(data: bytes, /) -> Any: ...
def identity(model: Any, /) -> tuple[str, bytes]: ...
def decode(
    model: Any,
    latents: bytes,
    alpha: bytes | None,
    width: int,
    height: int,
    quality: int,
    grey: bool,
    region: tuple[int, int, int, int],
    threads: int,
    pixels: NDArray[Any],
) -> tuple[int, str] | None: ...
def synthesis(
    latents: int,
    width: int,
    first: int,
    exponent: NDArray[Any],
    prediction: Layer | None,
    up: Layer,
    last: Layer,
    residual: tuple[Layer, ...],
) -> Any: ...
def mean(
    exponent: NDArray[Any], first: Layer, second: Layer, third: Layer, contexts: tuple[Layer, ...]
) -> Any: ...
def add_context(
    net: Any, symbols: NDArray[Any], step: NDArray[Any], h: int, w: int, means: NDArray[Any]
) -> None: ...
def sizes(net: Any, /) -> tuple[int, int, int]: ...
def run_synthesis(
    net: Any,
    symbols: NDArray[Any],
    mean: NDArray[Any],
    step: NDArray[Any],
    latents: int,
    h: int,
    w: int,
    threads: int,
    pixels: NDArray[Any],
) -> None: ...
def run_mean(net: Any, hyperlatents: NDArray[Any], hz: int, wz: int, means: NDArray[Any]) -> None: ...
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
def decode_tile(
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
