"""Training photos for the codec: one packed file of compressed pictures, decoded once and kept on the device.

    decant train pack DIR --out photos.safetensors

The file holds every picture's own bytes (JPEG or what it was) one after another ("bytes"), where each starts
("offsets") and, as metadata, the names. Pictures decoded from it lie in one flat uint8 buffer, from which a
batch of random crops is one gather, on CPU or GPU.
"""

import json
import logging
import re
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from decant.errors import DecantError
from decant.formats.opening import open_picture
from decant.formats.paths import takes_paths
from PIL import ImageOps
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from decant_train.data.folders import NoImagesError, image_files

log = logging.getLogger(__name__)
VALIDATION_SHARE = 0.03
VALIDATION_SIDE = 256  # pixels; validation crops are so large
REDUCED = 0.7  # of the calls give reduced crops, which were 1.2 to 2 times as large
LEAST_REDUCTION, REDUCTIONS = 1.2, 0.8
LEAST_NOISE, MOST_NOISE = 0.5, 5.0  # its deviation in steps of 8 bits
COARSEST_NOISE = 2.0  # pixels that share a drawn value, in one direction


def group_of(name: str) -> str:
    """What pictures of one photograph share: the name without extension, and without a tile number (0012_03:
    photograph 12, tile 3) or a last letter a (whole) or b (detail).
    """
    stem = Path(name).stem
    if tile := re.fullmatch(r"(\d{4})_\d{2}", stem):
        return tile[1]
    return stem[:-1] if stem[-1:] in "ab" and stem[-2:-1].isdigit() else stem


def is_validation(name: str) -> bool:
    """Whether a picture belongs to the share kept for validation, by its group's name alone; ``held`` says
    what is kept of a set of pictures.
    """
    return _draw(group_of(name)) < 1000 * VALIDATION_SHARE


def held(names: Iterable[str]) -> set[str]:
    """The groups of pictures ``names`` that are kept for validation: those ``is_validation`` is true of.

    Of two or more groups at least one is kept, that of the lowest hash, and at least one is not.
    """
    groups = sorted({group_of(name) for name in names}, key=lambda group: (_draw(group), group))
    chosen = {group for group in groups if is_validation(group)}
    if len(groups) < 2:
        return chosen
    return (chosen or {groups[0]}) - ({groups[-1]} if len(chosen) == len(groups) else set())


def _draw(group: str) -> int:
    """0..999, from the name."""
    return zlib.crc32(group.encode()) % 1000


@takes_paths
def pack(folder: Path, out: Path, *, part: int = 0, parts: int = 1) -> int:
    """Pack the pictures below ``folder`` (every ``parts``-th of them, from ``part`` on) into ``out``; returns
    how many.
    """
    files = image_files(folder)[part::parts]
    if not files:
        raise NoImagesError(f"{folder} has too few pictures for {parts} parts")
    write_packed([(str(path.relative_to(folder)), path.read_bytes()) for path in files], out)
    return len(files)


def write_packed(pictures: Sequence[tuple[str, bytes]], out: Path) -> None:
    """Write the packed file ``out`` of ``pictures``: the name of each, and the bytes of its file."""
    offsets = np.cumsum([0, *(len(content) for _, content in pictures)])
    tensors = {
        "bytes": torch.frombuffer(bytearray(b"".join(content for _, content in pictures)), dtype=torch.uint8),
        "offsets": torch.from_numpy(offsets.astype(np.int64)),
    }
    save_file(tensors, out, metadata={"names": json.dumps([name for name, _ in pictures])})


@takes_paths
def packed(path: Path, out: Path) -> Path:
    """``path`` if it is a packed file, else its pictures packed into ``out``."""
    if path.is_file():
        return path
    pack(path, out)
    return out


class Photos:
    """Decoded pictures on one device: ``flat`` uint8, each picture (height, width, 3) at ``start``."""

    def __init__(self, pictures: Sequence[npt.NDArray[np.uint8]], names: Sequence[str]) -> None:
        self.names = list(names)
        self.height = torch.tensor([p.shape[0] for p in pictures])
        self.width = torch.tensor([p.shape[1] for p in pictures])
        sizes = torch.tensor([p.size for p in pictures])
        self.start = torch.cumsum(sizes, 0) - sizes
        self.flat = torch.cat([torch.from_numpy(np.array(p)).reshape(-1) for p in pictures])

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device) -> "Photos":
        for field in ("height", "width", "start", "flat"):
            setattr(self, field, getattr(self, field).to(device))
        return self

    def crops(self, count: int, size: int, generator: torch.Generator) -> Tensor:
        """``count`` random squares, half of them mirrored, float32 (count, 3, size, size) in [0, 1]; large
        pictures come more often.
        """
        device = self.flat.device
        areas = ((self.height - size + 1).clamp_min(0) * (self.width - size + 1).clamp_min(0)).float()
        chosen = torch.multinomial(areas.cpu(), count, replacement=True, generator=generator).to(device)
        random = torch.rand(3, count, generator=generator).to(device)
        top = (random[0] * (self.height[chosen] - size + 1)).long()
        left = (random[1] * (self.width[chosen] - size + 1)).long()
        row = torch.arange(size, device=device)
        columns = torch.where(random[2, :, None] < 0.5, row, row.flip(0)) + left[:, None]
        rows = top[:, None] + row
        pixel = (rows[:, :, None] * self.width[chosen, None, None] + columns[:, None, :]) * 3
        index = (
            self.start[chosen, None, None, None]
            + pixel[:, None]
            + torch.arange(3, device=device)[:, None, None]
        )
        return self.flat[index].float() / 255

    def reduced(self, count: int, size: int, generator: torch.Generator, *, grainy: float = 0.0) -> Tensor:
        """As ``crops``, but in most of the calls from larger squares reduced to ``size``: what compressed
        photos have in noise and artefacts goes, and detail comes. A share ``grainy`` of those calls gives
        them noise again, as film and sensors have it, which was never compressed.
        """
        if float(torch.rand((), generator=generator)) >= REDUCED:
            return self.crops(count, size, generator)
        larger = round(size * (LEAST_REDUCTION + REDUCTIONS * float(torch.rand((), generator=generator))))
        larger = min(larger, int(torch.minimum(self.height, self.width).max()))
        squares = self.crops(count, larger, generator)
        crops = functional.interpolate(squares, size=(size, size), mode="bilinear", antialias=True)
        if grainy and float(torch.rand((), generator=generator)) < grainy:
            crops = crops + grain(count, size, generator).to(crops.device)
        return crops.clamp(0, 1)


def grain(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Noise of ``count`` pictures, float32 (count, 3, size, size): one coarseness, a deviation for each; half
    of its power is brightness.
    """
    coarse = 1 + (COARSEST_NOISE - 1) * float(torch.rand((), generator=generator))
    drawn = torch.randn(count, 4, *2 * [round(size / coarse)], generator=generator)
    drawn = functional.interpolate(drawn, size=(size, size), mode="bilinear")
    drawn = drawn / drawn.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
    part = torch.rand(count, 1, 1, 1, generator=generator)
    deviation = LEAST_NOISE * (MOST_NOISE / LEAST_NOISE) ** part / 255
    noise: Tensor = (drawn[:, :1] + drawn[:, 1:]) * (deviation * 0.5**0.5)
    return noise


@takes_paths
def load(paths: Sequence[Path], smallest: int, *, validation: bool, workers: int = 8) -> Photos:
    """Decode the packed files ``paths``: training or validation pictures of at least ``smallest`` pixels a
    side.

    At least one photograph of VALIDATION_SIDE pixels is kept for validation, if there are two. Raises
    NoImagesError where no picture is left, saying why.
    """
    packed = [PackedFile(path) for path in paths]
    held_groups = _kept_for_validation(packed)
    pictures: list[npt.NDArray[np.uint8]] = []
    names: list[str] = []
    for file in packed:
        chosen = [i for i, name in enumerate(file.names) if (group_of(name) in held_groups) == validation]
        with ThreadPoolExecutor(workers) as pool:
            decoded = list(pool.map(_decode, map(file.content, chosen), (file.names[i] for i in chosen)))
        for i, picture in zip(chosen, decoded, strict=True):
            if picture is not None and min(picture.shape[:2]) >= smallest:
                pictures.append(picture)
                names.append(file.names[i])
    if not pictures:
        raise NoImagesError(_why_none(packed, smallest, validation))
    return Photos(pictures, names)


class PackedFile:
    """A packed file: the ``names`` and contents of its pictures."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            self.names: list[str] = json.loads(file.metadata()["names"])
            self._data, self._offsets = file.get_tensor("bytes").numpy(), file.get_tensor("offsets").tolist()
        self.path = path

    def content(self, index: int) -> bytes:
        """The bytes of one picture's file."""
        content: bytes = self._data[self._offsets[index] : self._offsets[index + 1]].tobytes()
        return content

    def side(self, index: int) -> int:
        """The shorter side of a picture in pixels, from its header; 0 where it cannot be read."""
        try:
            with open_picture(self.content(index), self.names[index]) as image:
                return min(image.size)
        except (DecantError, OSError):
            return 0


def _kept_for_validation(packed: Sequence[PackedFile]) -> set[str]:
    """The groups kept for validation: by name, or, where those hold no picture of VALIDATION_SIDE pixels, of
    the pictures that are so large.
    """
    groups = held(name for file in packed for name in file.names)
    places = [(file, i, name) for file in packed for i, name in enumerate(file.names)]
    if any(group_of(name) in groups and file.side(i) >= VALIDATION_SIDE for file, i, name in places):
        return groups
    large = [name for file, i, name in places if file.side(i) >= VALIDATION_SIDE]
    groups = {group_of(name) for _, _, name in places}
    if len(groups) > 1 and large:
        return held(large) or {group_of(large[0])}
    return {group for group in groups if is_validation(group)}


def _why_none(packed: Sequence[PackedFile], smallest: int, validation: bool) -> str:
    """Why ``load`` found no picture."""
    where = ", ".join(str(file.path) for file in packed)
    sides = [file.side(i) for file in packed for i in range(len(file.names))]
    groups = len({group_of(name) for file in packed for name in file.names})
    what = "validation" if validation else "training"
    start = f"no {what} picture of {smallest} pixels a side in {where}"
    largest = max(sides, default=0)
    if largest < smallest:
        return f"{start}: the shorter side of the largest of its {len(sides)} pictures is {largest}"
    if groups < 2:
        return f"{start}: it holds one photograph; training and validation need one each"
    fitting = sum(side >= smallest for side in sides)
    return f"{start}: {fitting} of its {len(sides)} pictures are so large, and none is left for {what}"


def _decode(data: bytes, name: str) -> npt.NDArray[np.uint8] | None:
    try:
        with open_picture(data, name) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (DecantError, OSError) as error:
        log.warning("skipped %s: %s", name, error)
        return None
