from typing import Any

from numpy.typing import NDArray

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
def kernels() -> str: ...
