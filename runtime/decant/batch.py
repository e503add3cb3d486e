"""Encoding and decoding files and whole folders: what ``decant encode`` and ``decant decode`` do."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from decant.bundles.bundle import Bundle, find_bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.errors import DecantError, ImageError
from decant.formats import container
from decant.formats.exif import orientation_of
from decant.formats.fitting import fitted
from decant.formats.frames import has_more_frames
from decant.formats.metadata import turned_upright
from decant.formats.opening import open_image
from decant.formats.orientation import turned
from decant.formats.output_images import lost_metadata, save_picture
from decant.formats.plan import Job
from decant.formats.png import check_level
from decant.formats.reading import open_regular, read_dcn
from decant.formats.writing import check_destination, is_same_file, write_atomically
from decant.process import lifecycle
from decant.process.cores import usable_cores
from decant.process.failures import is_from_signal_handler
from decant.process.workers import in_order

if TYPE_CHECKING:
    import numpy as np

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Done:
    """What became of one file: its picture's size in pixels, and the bytes of the ``.dcn`` file."""

    width: int
    height: int
    bytes: int
    more_frames: bool = False  # the picture read had frames or pages after the one that was encoded
    lost: str = ""  # what of the metadata the picture's format does not hold

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the whole ``.dcn`` file for each pixel."""
        return 8 * self.bytes / (self.width * self.height)


# Called after each job with what came of it: ``Done``, or a message that names the file.
Report = Callable[[Job, Done | str], None]
Work = Callable[[Path, Path], Done]


class Decoders:
    """The decoders of the models that files name. Each is loaded once, and so is an error for a model that
    cannot be; safe to use from several threads. ``options`` are Decoder's.
    """

    def __init__(self, bundle_dir: str | None, own: Bundle | None = None, **options: Any) -> None:
        """``own``: a bundle that is open already, for files of its model."""
        self._bundle_dir, self._own, self._options = bundle_dir, own, options
        self._loaded: dict[tuple[str, bytes], Decoder | DecantError] = {}
        self._lock = lifecycle.Native(threading.Lock)  # made anew in a forked child

    def of(self, file: container.DcnFile) -> Decoder:
        """The decoder of ``file``'s model. Raises what ``find_bundle`` and Decoder raise."""
        key = (file.name, file.model_id)
        with self._lock.get():
            if key not in self._loaded:
                try:
                    self._loaded[key] = Decoder(self._bundle(*key), **self._options)
                except DecantError as error:
                    self._loaded[key] = error
            loaded = self._loaded[key]
        if isinstance(loaded, DecantError):
            raise loaded
        return loaded

    def _bundle(self, name: str, model_id: bytes) -> Bundle:
        if self._own is not None and self._own.model_id.startswith(model_id.hex()):
            return self._own
        return find_bundle(name, model_id, self._bundle_dir)


class FileDecoder:
    """Decodes files with the bundle that each names, loading every decoder once; all of each picture, or its
    ``crop`` (x, y, width, height). ``options`` are Decoder's.
    """

    def __init__(
        self,
        bundle_dir: str | None,
        crop: tuple[int, int, int, int] | None = None,
        suffix: str = "",
        upright: bool = False,
        max_size: int | None = None,
        png_level: int | None = None,
        **options: Any,
    ) -> None:
        """``suffix`` says the picture format where the name of the output does not; ``upright`` turns
        pictures as EXIF orientation says; ``max_size`` makes them smaller where a side is longer;
        ``png_level`` is 0 to 9. Raises ImageError for another.
        """
        self.png_level = check_level(png_level)
        self._crop = crop
        self._suffix = suffix
        self._upright = upright
        self._max_size = max_size
        self._decoders = Decoders(bundle_dir, **options)

    def __call__(self, source: Path, target: Path) -> Done:
        """Decode the file ``source`` into the picture ``target``. Raises DecantError, OSError."""
        check_output(source, target)
        data = read_dcn(source)
        pixels, file = self.decode(data, str(source))
        save_picture(target, pixels, file, self._suffix, self.png_level)
        lost = lost_metadata(self._suffix or target.suffix, file)
        return Done(file.width, file.height, len(data), lost=lost)

    def decode(self, data: bytes, source: str) -> "tuple[np.ndarray, container.DcnFile]":
        """The bytes of a file -> pixels uint8 (H, W, 3) or (H, W, 4), and the parsed file, its metadata
        upright where the pixels are. Raises DecantError.
        """
        file = container.parse(data, source)
        decoder = self._decoders.of(file)
        if self._crop is None:
            pixels = decoder.decode_file(file, source)
        else:
            pixels = decoder.decode_file_region(file, self._crop, source)
        if self._max_size is not None:
            pixels = fitted(pixels, self._max_size)
        if self._upright:
            return turned(pixels, orientation_of(file.exif, file.xmp)), turned_upright(file)
        return pixels, file


class FileEncoder:
    """Encodes picture files with the ``settings`` of ``Encoder.encode``."""

    def __init__(self, encoder: Encoder, *, refuse_animated: bool = False, **settings: Any) -> None:
        """``refuse_animated`` refuses pictures of more than one frame or page, which are otherwise encoded
        by their first.
        """
        self._encoder = encoder
        self._refuse_animated = refuse_animated
        self._settings = settings

    def __call__(self, source: Path, target: Path) -> Done:
        """Encode the picture ``source`` into the file ``target``. Raises DecantError, OSError."""
        check_output(source, target)
        with open_regular(source) as stream:
            data, done = self.encode(stream, str(source))
        write_atomically(target, lambda out: out.write(data))
        return done

    def encode(self, stream: IO[bytes], source: str) -> tuple[bytes, Done]:
        """The picture in an open file -> the bytes of a ``.dcn`` file. Raises DecantError."""
        with open_image(stream, source, self._encoder.size_limit) as image:
            more = has_more_frames(image)
            if more and self._refuse_animated:
                raise ImageError(f"{source}: has more than one frame or page")
            data = self._encoder.encode(image, source=source, **self._settings)
        header = container.parse_header(data)
        return data, Done(header.width, header.height, len(data), more)


def check_output(source: Path, target: Path, *, streams: bool = False) -> None:
    """Refuse an output that cannot be written or is the input itself, before the work; ``streams`` True lets
    devices and FIFOs pass. Raises ImageError, OSError.
    """
    check_destination(target, streams=streams)
    if is_same_file(source, target):
        raise ImageError(f"{target}: is the input itself ({source}); choose another name")


def run_all(jobs: list[Job], work: Work, report: Report, threads: int = 0) -> int:
    """Do ``work`` on every job, several at a time; a file that fails is reported and the rest go on. Returns
    how many failed.
    """

    def one(job: Job) -> Done:
        job[1].parent.mkdir(parents=True, exist_ok=True)
        return work(*job)

    failed = 0
    for job, result in in_parallel(jobs, one, lambda job: str(job[0]), threads):
        failed += isinstance(result, str)
        report(job, result)
    return failed


def in_parallel(
    items: Iterable[_Item], work: Callable[[_Item], _Result], name: Callable[[_Item], str], threads: int = 0
) -> Iterator[tuple[_Item, _Result | str]]:
    """Each item with what ``work`` gave, or with a message where it raised, in order.

    Whatever one item raises, for want of memory too, is that item's failure; the others go on.
    """

    def one(item: _Item) -> _Result | str:
        try:
            return work(item)
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            return message_of(error, name(item))

    items, again = tee(items)
    yield from zip(again, in_order(one, items, threads or usable_cores()), strict=True)


def message_of(error: Exception, source: str) -> str:
    """One line for an error in a file: what is wrong, and where."""
    if isinstance(error, DecantError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{source}: not enough memory"
    if isinstance(error, OSError):
        return f"{error.filename or source}: {error.strerror or error}"
    return f"{source}: {type(error).__name__}: {error}"
