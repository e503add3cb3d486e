"""A worker process of the local engine: ``python -m decant.archive.worker``, driven through its pipes."""

import os
import signal
import sys

from decant.archive.engines import serve


def main() -> None:
    """Serve units until standard input ends; whatever else is printed goes to standard error."""
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
