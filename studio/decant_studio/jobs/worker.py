"""A worker process: ``python -m decant_studio.jobs.worker``. It takes jobs from stdin, one at a time, and
answers on stdout. It ends when the server does.

A job is a name of ``decant_studio.work.tasks.TASKS`` with its arguments. Errors of decant, which say what is
wrong in a sentence, are passed on with status 400. Anything else becomes a plain sentence with status 422,
and its traceback goes to stderr.
"""

import os
import sys
import traceback
import warnings
from typing import IO, Any

from decant_studio.errors import Refused
from decant_studio.jobs import pipe

TOO_LARGE = "The picture needs more memory than this studio allows; try a smaller one."
# What inference runtimes say when there is none.
_NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "not enough memory")
DAMAGED = "The picture could not be processed; it may be damaged. Try to save it again as PNG."


def main() -> None:
    """Serve jobs until stdin ends."""
    # Libraries that print must not write into the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    jobs = sys.stdin.buffer
    options = pipe.receive(jobs)
    _limit_memory(options["memory_bytes"])
    from decant_studio.work.limits import Limits
    from decant_studio.work.tasks import TASKS

    limits = Limits(options["bundle_dir"], options["threads"], options["pixels"])
    while True:
        try:
            name, arguments = pipe.receive(jobs)
        except EOFError:
            return
        _run(TASKS[name], arguments, limits, answers)


def _run(task: Any, arguments: dict[str, Any], limits: Any, answers: IO[bytes]) -> None:
    from decant.errors import DecantError

    def progress(stage: str, done: float) -> None:
        pipe.send(answers, ("stage", stage, done))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = task(limits, progress, **arguments)
    except Refused as error:
        answer: tuple[Any, ...] = ("failed", error.status, error.message)
    except DecantError as error:
        if any(words in str(error) for words in _NO_MEMORY):
            answer = ("failed", 413, TOO_LARGE)
        else:
            answer = ("failed", 400, sentence(str(error)))
    except MemoryError:
        answer = ("failed", 413, TOO_LARGE)
    except Exception:
        traceback.print_exc()
        answer = ("failed", 422, DAMAGED)
    else:
        answer = ("done", result)
    pipe.send(answers, answer)


def sentence(text: str) -> str:
    """One of decant's messages as a sentence."""
    text = text.removeprefix("<image>: ").removeprefix("<bytes>: ")
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
