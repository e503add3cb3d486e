"""One cache of loaded coders for ``decant.open``, ``decant.save`` and the plugin."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import decant
import numpy as np
import pytest
from decant import cache
from decant.bundles.bundle import Bundle, find_bundle, seal
from decant.decoder import Decoder
from decant.encoder import Encoder

PICTURE = np.full((16, 16, 3), 90, np.uint8)


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the classes loaded, in order."""
    seen: list[str] = []
    for kind in (Decoder, Encoder):

        def init(self, *args, _kind=kind, _load=kind.__init__, **options):
            seen.append(_kind.__name__)
            _load(self, *args, **options)

        init.__wrapped__ = kind.__init__  # so that its signature stays
        monkeypatch.setattr(kind, "__init__", init)
    return seen


def test_open_and_save_load_once(tiny: Path, tmp_path: Path, loads: list[str]):
    for i in range(3):
        decant.save(tmp_path / f"{i}.dcn", PICTURE, tiny)
        decant.open(tmp_path / f"{i}.dcn", bundle_dir=tiny)
    assert loads == ["Encoder", "Decoder"]


def test_the_plugin_shares_them(
    tiny: Path, tmp_path: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch
):
    import decant.pillow
    from PIL import Image

    monkeypatch.setitem(decant.pillow.DECODER_OPTIONS, "bundle_dir", tiny)
    decant.save(tmp_path / "a.dcn", PICTURE, tiny)
    Image.fromarray(PICTURE).save(tmp_path / "b.dcn", model=tiny)
    decant.open(tmp_path / "b.dcn", bundle_dir=tiny)
    Image.open(tmp_path / "a.dcn").load()
    assert loads == ["Encoder", "Decoder"]


def test_options_that_say_the_default_are_none(tiny: Path):
    model = Bundle.open(tiny)
    plain = cache.decoder(model.name, model.model_id, bundle_dir=tiny)
    assert cache.decoder(model.name, model.model_id, bundle_dir=tiny, device="cpu", runtime="auto") is plain
    assert cache.decoder(model.name, model.model_id, bundle_dir=tiny, threads=1) is not cache.decoder(
        model.name, model.model_id, bundle_dir=tiny, threads=2
    )


def test_a_size_limit_is_not_a_load(tiny: Path, loads: list[str]):
    small, large = (cache.encoder(tiny, size_limit=limit) for limit in (100, 10**6))
    assert (small.size_limit, large.size_limit) == (100, 10**6)
    assert small.session is large.session
    assert loads == ["Encoder"]
    with pytest.raises(decant.SizeLimitError):
        small.encode(PICTURE)
    large.encode(PICTURE)


def test_threads_load_once_between_them(tiny: Path, loads: list[str]):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.encoder(tiny), range(16)))
    assert len({id(encoder) for encoder in found}) == 1
    assert loads == ["Encoder"]


def test_the_one_unused_for_longest_goes(tiny: Path):
    found = {n: cache.encoder(tiny, threads=n) for n in range(1, cache.MOST_KEPT + 1)}
    assert cache.encoder(tiny, threads=1) is found[1]
    cache.encoder(tiny, threads=cache.MOST_KEPT + 1)
    assert cache.encoder(tiny, threads=1) is found[1]
    assert cache.encoder(tiny, threads=2) is not found[2]


def test_a_bundle_replaced_on_disk_is_loaded_anew(tiny: Path, tiny_copy: Path):
    import bundles

    first = cache.encoder(tiny_copy)
    shutil.rmtree(tiny_copy)
    bundles.build(tiny_copy, offset=0.1)
    second = cache.encoder(tiny_copy)
    assert second.bundle.model_id != first.bundle.model_id


def test_errors_are_not_kept(tiny: Path, tmp_path: Path):
    with pytest.raises(decant.ModelNotFoundError):
        cache.encoder("mine", bundle_dir=tmp_path)
    shutil.copytree(tiny, tmp_path / "mine")
    assert cache.encoder(str(tmp_path / "mine"))


def test_a_manifest_is_parsed_once_while_it_stays_the_same(tiny: Path, tiny_copy: Path):
    first = find_bundle(str(tiny_copy))
    assert find_bundle(str(tiny_copy)).manifest is first.manifest
    raw = dict(first.manifest.raw) | {"licence": "another"}
    (tiny_copy / "bundle.json").write_bytes(seal(raw))
    assert find_bundle(str(tiny_copy)).manifest.raw["licence"] == "another"
    damaged = (tiny_copy / "bundle.json").read_bytes().replace(b"another", b"damaged")
    (tiny_copy / "bundle.json").write_bytes(damaged)
    with pytest.raises(decant.BundleError, match="checksum"):
        find_bundle(str(tiny_copy))
