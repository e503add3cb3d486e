"""Encoding and decoding files and whole folders: what ``decant encode`` and ``decant decode`` do."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from decant import container
from decant.bundle import find_bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.errors import DecantError, ImageError, SizeLimitError
from decant.output import save_picture
from decant.sessions import usable_cores
from decant.writing import write_atomically

Work = Callable[[Path, Path], None]
# Called after each file with its path, and what went wrong or None.
Report = Callable[[Path, str | None], None]


def decoding(bundle_dir: str | None, crop: tuple[int, int, int, int] | None = None, **options: Any) -> Work:
    """A function (file, picture) -> None that decodes with the bundle each file names, loading every decoder
    once; all of each picture, or its ``crop`` (x, y, width, height).

    ``options`` are Decoder's. The function raises DecantError and OSError.
    """
    decoders: dict[tuple[str, bytes], Decoder | DecantError] = {}
    lock = threading.Lock()

    def decoder_of(file: container.DcnFile) -> Decoder:
        key = (file.name, file.model_id)
        with lock:
            if key not in decoders:
                try:
                    decoders[key] = Decoder(find_bundle(*key, bundle_dir), **options)
                except DecantError as error:
                    decoders[key] = error
            found = decoders[key]
        if isinstance(found, DecantError):
            raise found
        return found

    def decode(source: Path, target: Path) -> None:
        file = container.parse(source.read_bytes(), str(source))
        decoder = decoder_of(file)
        if crop is None:
            pixels = decoder.decode_file(file, str(source))
        else:
            pixels = decoder.decode_file_region(file, crop, str(source))
        save_picture(target, pixels, file)

    return decode


def encoding(encoder: Encoder, **settings: Any) -> Work:
    """A function (picture, file) -> None that encodes with the ``settings`` of ``Encoder.encode``. It raises
    DecantError and OSError.
    """

    def encode(source: Path, target: Path) -> None:
        from PIL import Image, UnidentifiedImageError

        with source.open("rb") as stream:  # so that a missing file stays an OSError of its own
            try:
                with Image.open(stream) as image:
                    data = encoder.encode(image, source=str(source), **settings)
            except UnidentifiedImageError:
                raise ImageError(f"{source}: not an image in a format that Pillow reads") from None
            except (DecantError, MemoryError):
                raise
            except Image.DecompressionBombError:
                raise SizeLimitError(
                    f"{source}: more pixels than the limit, {encoder.size_limit}; raise it with --size-limit"
                ) from None
            except Exception as error:  # Pillow's readers raise whatever a broken file leads them to
                raise ImageError(f"{source}: cannot be read: {error}") from None
        write_atomically(target, lambda out: out.write(data))

    return encode


def pairs(source: Path, target: Path, suffixes: Iterable[str], new_suffix: str) -> list[tuple[Path, Path]]:
    """(file, result) for every file under ``source`` with one of ``suffixes``, at the same place under
    ``target``, by path.

    Raises ImageError when two files would become one.
    """
    known = set(suffixes)
    found: dict[Path, Path] = {}
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.suffix.lower() not in known:
                continue
            result = target / path.relative_to(source).with_suffix(new_suffix)
            if result in found:
                raise ImageError(f"{found[result]} and {path} would both become {result}; rename one")
            found[result] = path
    return [(path, result) for result, path in found.items()]


def run_all(jobs: list[tuple[Path, Path]], work: Work, report: Report, threads: int = 0) -> int:
    """Do ``work`` on every pair, several at a time; a file that fails is reported and the rest go on. Returns
    how many failed.
    """

    def one(job: tuple[Path, Path]) -> str | None:
        source, target = job
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            work(source, target)
        except DecantError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename or source}: {error.strerror or error}"
        return None

    failed = 0
    workers = threads or usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        # In portions: an archive may hold millions of files, and a pool would queue them all.
        for portion in _portions(jobs, 16 * workers):
            for (source, _), message in zip(portion, pool.map(one, portion), strict=True):
                failed += message is not None
                report(source, message)
    return failed


def _portions(jobs: list[tuple[Path, Path]], size: int) -> Iterator[list[tuple[Path, Path]]]:
    rest = iter(jobs)
    while portion := list(islice(rest, size)):
        yield portion
