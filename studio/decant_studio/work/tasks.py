"""The tasks of the worker processes by name."""

from collections.abc import Callable

from decant_studio.work.compare import compare, restore
from decant_studio.work.kmeans import kmeans
from decant_studio.work.machine import devices, latency
from decant_studio.work.published import compress, decompress
from decant_studio.work.result import Result
from decant_studio.work.stimuli import stimuli

TASKS: dict[str, Callable[..., Result]] = {
    "compare": compare,
    "restore": restore,
    "compress": compress,
    "decompress": decompress,
    "kmeans": kmeans,
    "stimuli": stimuli,
    "devices": devices,
    "latency": latency,
}
