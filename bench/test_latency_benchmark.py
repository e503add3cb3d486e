"""The latency lab's measurements as a pytest-benchmark suite: ``make bench``, or

    DECANT_BENCH_BUNDLE=path/to/bundle pytest bench --benchmark-only --benchmark-json out.json

The bundle is the one named, else the first that can be found (the wheel's among them). Pictures are crops of
photos in the wheels of scikit-image and scikit-learn. pytest-benchmark measures one case after the other;
`decant bench latency` interleaves them and is what figures to publish come from.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from decant.bundles.bundle import Bundle, find_bundle, list_bundles
from decant.errors import ModelNotFoundError
from decant_bench.common.baselines import setting
from decant_bench.common.cases import Case, bundle_cases, codec_cases
from decant_bench.common.fitting import side_for
from decant_bench.common.pictures import PictureSet, wheel_crops
from decant_bench.evaluate.quality import encode
from decant_bench.latency.measure import CODECS

COUNT = 8
RUNTIMES = ("native", "onnxruntime", "openvino")
THREADS = (1, 2)


def _bundle() -> Bundle:
    if named := os.environ.get("DECANT_BENCH_BUNDLE"):
        return Bundle.open(named) if Path(named, "bundle.json").is_file() else find_bundle(named)
    found = list_bundles()
    if not found:
        raise ModelNotFoundError("no bundle found; name one in DECANT_BENCH_BUNDLE")
    return found[0]


def _archive() -> Path | None:
    """Ready files for a bundle without encoder: the folder named, or what ships beside the bundle."""
    if named := os.environ.get("DECANT_BENCH_ARCHIVE"):
        return Path(named)
    if BUNDLE.has("analysis"):
        return None
    return Path(__file__).parents[1] / "artifacts" / "sets" / BUNDLE.name


BUNDLE = _bundle()
MODELS = bundle_cases(BUNDLE, RUNTIMES, THREADS)
OTHERS = codec_cases(CODECS, THREADS)


@pytest.fixture(scope="session")
def pictures() -> PictureSet:
    """Real photographs at the size that the bundle takes."""
    return wheel_crops(COUNT, side_for([BUNDLE]))


@pytest.fixture(scope="session")
def coded(pictures: PictureSet) -> Callable[[Case], list[bytes]]:
    """The pictures as files of a case's format, made once."""
    made: dict[str, list[bytes]] = {}

    def of(case: Case) -> list[bytes]:
        if case.name not in made:
            if case.kind == "model":
                made[case.name] = encode(BUNDLE, pictures, _archive())
            else:
                made[case.name] = [setting(case.name).encode(pixels) for pixels in pictures.pixels]
        return made[case.name]

    return of


@pytest.mark.parametrize("case", MODELS + OTHERS, ids=lambda case: case.key)
@pytest.mark.benchmark(group="decode: bytes in memory to uint8 RGB")
def test_decode(benchmark, case, coded):
    datas = coded(case)
    decode, _ = case.open()
    decode(datas[0])

    def decode_all():
        for data in datas:
            picture = decode(data)
        return picture

    picture = benchmark(decode_all)
    benchmark.extra_info["images_per_run"] = len(datas)
    assert picture.dtype == "uint8"
    assert picture.shape[2] == 3


@pytest.mark.parametrize("case", MODELS + OTHERS, ids=lambda case: case.key)
@pytest.mark.benchmark(group="load: files read and ready to decode, warm file cache")
def test_load(benchmark, case, coded, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(coded(case)[0])
    case.load(path)
    decode = benchmark(case.load, path)
    assert decode(path.read_bytes()).ndim == 3


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.key)
@pytest.mark.benchmark(group="whole set: decode_batch")
def test_decode_batch(benchmark, case, coded):
    datas = coded(case)
    decoder = case.decoder()
    pictures = benchmark(decoder.decode_batch, datas)
    benchmark.extra_info["images_per_run"] = len(datas)
    assert len(pictures) == len(datas)
