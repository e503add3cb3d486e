"""``run.py TARGET CORPUS [libFuzzer options]``: fuzz one target of targets.py under atheris."""

import sys
import warnings
from functools import partial
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))

with atheris.instrument_imports(include=["decant", "damage", "targets"]):
    import targets


def main() -> None:
    target = sys.argv.pop(1)
    warnings.simplefilter("ignore")  # Pillow's, of large pictures
    if target == "pillow" or target == "layouts":
        targets.bundle()  # loading is no part of an execution
    atheris.Setup(sys.argv, partial(targets.run_one, target))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
