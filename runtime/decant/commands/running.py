"""What ``encode`` and ``decode`` share: one file, ``-``, or a folder, with messages on stderr."""

import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from decant.commands.plugins import Failure
from decant.commands.terminal import say, say_progress
from decant.formats.plan import FolderPlan, Job
from decant.formats.reading import open_regular
from decant.formats.writing import Write, write_atomically

if TYPE_CHECKING:
    from decant.batch import Done, Work

PATH = click.Path(path_type=Path)
STANDARD = Path("-")  # stdin or stdout


def require(path: Path) -> None:
    """Fail unless ``path`` is there, or is standard input."""
    if path != STANDARD and not path.exists():
        raise Failure(f"{path}: no such file or folder")


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command as an exception does; its temporary files go. Exit code 143, 129.

    A second signal ends the process at once. Where somebody else handles or ignores one, that stays.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]

    def stop(number: int, frame: object) -> None:
        restore()
        sys.exit(128 + number)

    def restore() -> None:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)

    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()


def bundle_or_file(path: Path, bundle_dir: str | None) -> Path:
    """``path``, or the folder of the bundle of that name where no such file or folder is here."""
    from decant.bundles.bundle import find_bundle, search_folders
    from decant.bundles.names import parse_name
    from decant.bundles.places import folder_of
    from decant.errors import BundleError, ModelNotFoundError

    if path == STANDARD or path.exists():
        return path
    missing = f"{path}: no such file or folder"
    name = parse_name(str(path))
    if name is None:
        raise Failure(missing)
    try:
        return find_bundle(str(path), bundle_dir=bundle_dir).path
    except ModelNotFoundError:
        looked = ", ".join(map(str, search_folders(bundle_dir)))
        raise Failure(f"{missing}, and no bundle of that name; looked for bundles in {looked}") from None
    except BundleError:
        # Decoding passes this bundle over. Whoever asks for it by name wants to know what is wrong with it.
        folder = folder_of(name.name, bundle_dir)
        if folder is None:
            raise
        return folder


@contextmanager
def memory_for(path: Path) -> Iterator[None]:
    """Say which file there was not enough memory for. Raises Failure."""
    try:
        yield
    except MemoryError:
        raise Failure(f"{'<stdin>' if path == STANDARD else path}: not enough memory") from None


@contextmanager
def input_stream(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """An input file, or standard input, open for reading, and its name in messages."""
    if path == STANDARD:
        yield sys.stdin.buffer, "<stdin>"
        return
    with open_regular(path) as stream:
        yield stream, str(path)


def output_of(source: Path, target: Path, suffix: str) -> Path:
    """``target``, or where it is a folder the file in it that is named after ``source``.
    Raises UsageError for standard input, which has no name.
    """
    if target == STANDARD or not target.is_dir():
        return target
    if source == STANDARD:
        raise click.UsageError(f"{target} is a folder, and standard input has no name; name the file")
    return target / source.with_suffix(suffix).name


def check_one_output(source: Path, target: Path) -> None:
    """Refuse, before the work, an output that cannot be written. Raises ImageError, OSError, Failure."""
    from decant.batch import check_output

    if target != STANDARD:
        check_output(source, target, streams=True)
    elif sys.stdout.isatty():
        raise Failure("standard output is a terminal; name a file, or redirect it")


def write_output(target: Path, write: Write) -> None:
    """Let ``write`` fill the file ``target``, or standard output."""
    if target != STANDARD:
        write_atomically(target, write)
        return
    buffer = io.BytesIO()  # nothing goes out when ``write`` fails
    write(buffer)
    stream = sys.stdout.buffer
    stream.write(buffer.getbuffer())
    stream.flush()


def require_folder_output(target: Path) -> None:
    """Raise UsageError where the results of a folder cannot go to a folder ``target``."""
    if target == STANDARD:
        raise click.UsageError("IN is a folder, so OUT has to be one, not standard output")
    if target.exists() and not target.is_dir():
        raise click.UsageError(f"IN is a folder, so OUT has to be one; {target} is a file")


def run_folder(plan: FolderPlan, target: Path, work: "Work", *, threads: int, quiet: bool) -> None:
    """Do a folder's jobs with progress: a file that fails is named, the others go on, and a summary accounts
    for every file. Raises Failure when any failed.
    """
    from decant.batch import run_all

    live = sys.stderr.isatty() and not quiet
    done = frames = lost = 0
    for _, message in plan.failed:
        say(f"decant: {message}")

    def report(job: Job, result: "Done | str") -> None:
        nonlocal done, frames, lost
        done += 1
        if isinstance(result, str):
            say(f"decant: {result}")
        else:
            frames += result.more_frames
            lost += bool(result.lost)
        if live:
            say_progress(f"{done}/{len(plan.jobs)} files")

    try:
        failed = len(plan.failed) + run_all(plan.jobs, work, report, threads)
    except (KeyboardInterrupt, SystemExit):
        say(f"decant: stopped after {done} of {len(plan.jobs)} files")
        raise
    if not quiet:
        say(summary(plan, target, plan.total - failed, frames, lost))
    if failed:
        raise Failure(f"{failed} of {plan.total} files failed")


def summary(plan: FolderPlan, target: Path, written: int, frames: int, lost: int = 0) -> str:
    """One line that accounts for every file of a folder."""
    parts = [f"{written} of {plan.total} files written to {target}"]
    if skipped := skipped_text(plan):
        parts.append(skipped)
    if frames:
        parts.append(f"{frames} with more frames or pages, of which only the first was encoded")
    if lost:
        parts.append(f"{lost} without metadata that the format does not hold (--upright turns pictures)")
    return "; ".join(parts)


def skipped_text(plan: FolderPlan) -> str:
    """How many files were skipped, by reason; empty where none was."""
    if not plan.skipped:
        return ""
    reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(plan.skipped.items()))
    return f"{plan.skipped.total()} skipped ({reasons})"
