from typing import Any

from numpy.typing import NDArray

Layer = tuple[int, int, int, NDArray[Any], NDArray[Any], NDArray[Any]]

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
def run(
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
def kernels() -> str: ...
