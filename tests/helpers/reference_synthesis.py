"""A second decoder of the integer synthesis, written from docs/synthesis.md in numpy. It shares no code with
the runtime: `means(tensors, v)` and `pixels(tensors, symbols, step, mean)` take well-formed input.
"""

import numpy as np

Tensors = dict[str, np.ndarray]


def sat(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -32768, 32767)


def layer(tensors: Tensors, name: str, x: np.ndarray) -> np.ndarray:
    """x int64 (h, w, in) -> int64 (h, w, out), before any clamping."""
    weight = tensors[f"{name}.weight"].astype(np.int64)
    side, (h, w) = weight.shape[1], x.shape[:2]
    margin = side // 2
    padded = np.pad(x, ((margin, margin), (margin, margin), (0, 0)))
    sums = np.zeros((h, w, len(weight)), np.int64) + tensors[f"{name}.bias"]
    for ky in range(side):
        for kx in range(side):
            sums += padded[ky : ky + h, kx : kx + w] @ weight[:, ky, kx].T
    shift = tensors[f"{name}.shift"].astype(np.int64)
    return (sums + (1 << (shift - 1))) >> shift


def depth_to_space(x: np.ndarray, block: int) -> np.ndarray:
    h, w, channels = x.shape
    x = x.reshape(h, w, block, block, channels // block**2).transpose(0, 2, 1, 3, 4)
    return x.reshape(h * block, w * block, -1)


def means(tensors: Tensors, v: np.ndarray) -> np.ndarray:
    """Hyperlatents int (hyper, hz, wz) in units of 1/16 -> means int64 (M, 4 hz, 4 wz)."""
    x = sat(v.astype(np.int64)).transpose(1, 2, 0)
    for name in ("mean.0", "mean.1"):
        x = np.maximum(0, sat(depth_to_space(layer(tensors, name, x), 2)))
    return sat(layer(tensors, "mean.2", x)).transpose(2, 0, 1)


def with_context(tensors: Tensors, mean: np.ndarray, symbols: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Means int (M, h, w) of one coding tile -> those with the checkerboard mean contexts added."""
    mean, (h, w), start, i = mean.copy(), mean.shape[1:], 0, 0
    odd = (np.arange(h)[:, None] + np.arange(w)) % 2 == 1
    known = residuals(tensors, symbols, step) * ~odd
    while f"near.{i}.out.weight" in tensors:
        channels = slice(start, start + len(tensors[f"near.{i}.out.weight"]))
        padded = np.pad(known[channels], ((0, 0), (1, 1), (1, 1)))
        left, right, above, below = (
            padded[:, 1:-1, :-2],
            padded[:, 1:-1, 2:],
            padded[:, :-2, 1:-1],
            padded[:, 2:, 1:-1],
        )
        x = np.concatenate([left, right, above, below]).transpose(1, 2, 0)
        x = np.maximum(0, sat(layer(tensors, f"near.{i}.hidden", x)))
        more = sat(layer(tensors, f"near.{i}.out", x)).transpose(2, 0, 1)
        mean[channels] = np.where(odd, sat(mean[channels] + more), mean[channels])
        start, i = channels.stop, i + 1
    return mean


def residuals(tensors: Tensors, symbols: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Symbols (M, h, w) times their step, in the exponents of latents."""
    exponent = tensors["exponent"].astype(np.int64)
    unit = np.rint(np.ldexp(step.astype(np.float64), exponent + 10))
    unit = np.clip(unit, 1, 1 << 30).astype(np.int64)[:, None, None]
    most = np.where(unit <= 1 << 15, 32767, (1 << 30) // unit)
    return sat((np.clip(symbols.astype(np.int64), -most, most) * unit + 512) >> 10)


def pixels(tensors: Tensors, symbols: np.ndarray, step: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Symbols (M, h, w), step float32 (M,), means int (M, h, w) -> uint8 (16 h, 16 w, 3)."""
    _, layers, first = tensors["sizes"]
    residual = residuals(tensors, symbols, step)
    latent = sat(residual + mean).transpose(1, 2, 0)
    if "prediction.weight" in tensors:
        predicted, *_, known = tensors["prediction.weight"].shape
        more = sat(layer(tensors, "prediction", residual[:known].transpose(1, 2, 0)))
        channels = slice(first, first + predicted)
        latent[:, :, channels] = sat(latent[:, :, channels] + more)
    x = sat(depth_to_space(layer(tensors, "up", latent), 4))
    for i in range(layers):
        hidden = np.maximum(0, sat(layer(tensors, f"render.{i}.first", x)))
        x = sat(x + sat(layer(tensors, f"render.{i}.second", hidden)))
    made = np.clip(layer(tensors, "last", x), 0, 255)
    return depth_to_space(made, 4).astype(np.uint8)
