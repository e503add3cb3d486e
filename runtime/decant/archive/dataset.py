"""Random access to the pictures of an archive, as arrays or tensors: for services and for training.

>>> from decant import archive
>>> dataset = archive.Dataset("photos.archive")          # doctest: +SKIP
>>> dataset["2019/garden.jpg"].shape                     # doctest: +SKIP
(3, 512, 768)
>>> batch = dataset.batch([5, 1, 7])                     # doctest: +SKIP

A Dataset works as a map-style ``torch.utils.data.Dataset``. It may be pickled and used after a fork: a worker
opens what it needs itself.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from decant.archive.bundles import decoder_folder
from decant.archive.reader import Archive
from decant.batch import Decoders
from decant.errors import ImageError
from decant.formats import container
from decant.formats.exif import orientation_of
from decant.formats.orientation import turned
from decant.process.cores import usable_cores
from decant.process.workers import in_order

_LAYOUTS = ("chw", "hwc")
_KINDS = ("numpy", "torch")


class Dataset:
    """The pictures of an archive by number or key: uint8 of shape (3, H, W), or (4, H, W) with alpha.

    ``archive`` is the open Archive. Attributes of pictures other than pixels: ``row``.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        *,
        kind: str = "numpy",
        layout: str = "chw",
        upright: bool = False,
        transform: Callable[[Any], Any] | None = None,
        threads: int = 1,
        bundle_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        """Open the archive ``place``: a folder, or an address that fsspec knows.

        ``kind`` is ``numpy`` or ``torch``; ``layout`` ``chw``, or ``hwc`` for (H, W, 3). ``upright`` turns
        pictures as EXIF orientation says. ``transform`` is applied to each picture. ``threads`` decode one
        picture, and pictures of a batch beside each other; 0 means all cores. ``bundle_dir`` replaces the
        archive's own decoder; ``options`` are Decoder's.

        Raises FormatError for what is no archive, ImageError for another kind or layout, MissingExtraError.
        """
        if kind not in _KINDS or layout not in _LAYOUTS:
            raise ImageError(
                f"kind {kind!r}, layout {layout!r}; {' or '.join(_KINDS)}, {' or '.join(_LAYOUTS)} expected"
            )
        self.archive = Archive(place)
        self._kind, self._layout, self._upright = kind, layout, upright
        self._transform = transform
        self._threads = threads or usable_cores()
        self._bundle_dir = None if bundle_dir is None else os.fspath(bundle_dir)
        self._options = options
        self._decoders: Decoders | None = None

    def __repr__(self) -> str:
        return f"<Dataset {self.archive.place} of {len(self)} pictures>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoders": None}

    def __len__(self) -> int:
        return len(self.archive)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.archive.has(key)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, which: SupportsIndex | str) -> Any:
        """One picture by its number (negative: from the end) or its key. Raises IndexError, KeyError,
        FormatError for a damaged one.
        """
        return self._finished(self._pixels(which if isinstance(which, str) else index(which)))

    def keys(self) -> list[str]:
        """All keys, by number."""
        return list(self.archive.keys())

    def payload(self, which: int | str) -> bytes:
        """The ``.dcn`` file of a picture. Raises as indexing does."""
        return self.archive.payload(which)

    def row(self, which: int | str) -> dict[str, Any]:
        """The row of a picture without its payload: key, width, height, date, hashes, status. Raises as
        indexing does.
        """
        part, row = self.archive.locate(which)
        return self.archive.row(part, row)

    def batch(self, which: Sequence[int | str]) -> Any:
        """Pictures of one size as one array (n, 3, H, W), or with ``layout`` hwc (n, H, W, 3).

        Raises ImageError for pictures of different sizes, and as indexing does.
        """
        pictures = list(in_order(self._pixels, which, self._threads))
        shapes = {pixels.shape for pixels in pictures}
        if len(shapes) > 1:
            raise ImageError(
                f"{self.archive.place}: a batch of pictures of {len(shapes)} sizes: {sorted(shapes)}; choose "
                "pictures of one size, or use a transform and stack them yourself"
            )
        arrays = [self._laid_out(pixels) for pixels in pictures]
        stacked = np.stack(arrays) if arrays else np.empty((0, 3, 0, 0), np.uint8)
        if self._kind == "numpy":
            return stacked
        import torch

        return torch.from_numpy(stacked)

    def _pixels(self, which: int | str) -> np.ndarray:
        """uint8 (H, W, 3) or (H, W, 4)."""
        name = which if isinstance(which, str) else f"picture {which}"
        file = container.parse(self.archive.payload(which), name)
        pixels = self._of(file).decode_file(file, name)
        return turned(pixels, orientation_of(file.exif, file.xmp)) if self._upright else pixels

    def _of(self, file: container.DcnFile) -> Any:
        if self._decoders is None:
            folder = decoder_folder(self.archive.store, self._bundle_dir)
            self._decoders = Decoders(folder, threads=self._threads, **self._options)
        return self._decoders.of(file)

    def _laid_out(self, pixels: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self._layout == "chw" else pixels)

    def _finished(self, pixels: np.ndarray) -> Any:
        picture: Any = self._laid_out(pixels)
        if self._kind == "torch":
            import torch

            picture = torch.from_numpy(picture)
        return picture if self._transform is None else self._transform(picture)
