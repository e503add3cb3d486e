"""Decode many damaged files in a process of its own: ``decode_damaged.py BUNDLE FILES COUNT SEED``.

FILES is a folder of good files. Each damaged one must end in our error or in a picture of the size that its
header states; memory beyond a limit is an error (RLIMIT_AS), and a decode that does not end kills the
process.
Prints how the decodes ended, as JSON.
"""

import collections
import faulthandler
import json
import resource
import sys
from pathlib import Path

import damage
import numpy as np
from decant import DecantError, Decoder
from decant.formats import container

SIZE_LIMIT = 1 << 20  # pixels
MEMORY = 256 << 20  # bytes beyond those of a process that has decoded every good file
HANG = 60  # seconds for one file


def main() -> None:
    bundle, folder, count, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    decoder = Decoder(bundle, threads=1, size_limit=SIZE_LIMIT)
    files = [path.read_bytes() for path in sorted(folder.glob("*.dcn"))]
    for data in files:
        decoder.decode(data)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    ends: collections.Counter[str] = collections.Counter()
    for i in range(count):
        random = np.random.default_rng((seed, i))
        data = damage.damaged(files[i % len(files)], random)
        faulthandler.dump_traceback_later(HANG, exit=True)
        try:
            pixels = decoder.decode(data, "hostile.dcn")
        except DecantError as error:
            message = str(error)
            assert message.startswith("hostile.dcn: "), (i, message)
            assert message.isprintable(), (i, message)
            ends[type(error).__name__] += 1
            ends["in a stream"] += "hyperlatents" in message or "tile" in message
            ends["in the alpha plane"] += "alpha" in message
        except BaseException as error:
            raise AssertionError(f"file {i} of seed {seed}") from error
        else:
            head = container.parse_header(data)
            assert pixels.dtype == np.uint8, i
            assert pixels.shape == (head.height, head.width, 4 if head.alpha else 3), (i, pixels.shape)
            ends["pictures"] += 1
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
