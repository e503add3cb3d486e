"""A worker process of the local engine: ``python -m decant.archive.worker``, driven through its pipes."""

import ctypes
import os
import signal
import sys

from decant.archive.engines import serve

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """On Linux this process is killed when the thread that started it ends: a worker whose run was killed
    must not write into the archive beside the run that goes on with it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Serve units until standard input ends; whatever else is printed goes to standard error."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    serve(source, target)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
