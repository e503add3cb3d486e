"""The loaded decoders and encoders of this process, kept for the next call.

``decant.open``, ``decant.save`` and the Pillow plugin all take theirs from here:

>>> from decant import cache
>>> decoder = cache.decoder("lite", model_id)                  # doctest: +SKIP
>>> encoder = cache.encoder("lite", device="cpu", threads=2)   # doctest: +SKIP

The key of an entry is the bundle (folder and checksum of bundle.json, so that a bundle replaced on disk is
loaded again) and all options that decide how it runs: device, runtime, precision, threads and the rest.
``size_limit`` only decides which pictures are accepted, so it is no part of the key.

At most ``MOST_KEPT`` of each kind stay loaded; the one unused for longest goes first. All functions may be
called from several threads at once, which load a coder once between them, and after a fork: a child uses what
its parent has loaded (``decant.process.lifecycle``). Errors are not kept.
"""

import copy
import os
import threading
from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from decant.bundles.bundle import Bundle, find_bundle, open_bundle
from decant.process import lifecycle
from decant.process.cores import usable_cores

if TYPE_CHECKING:
    from decant.decoder import Decoder
    from decant.encoder import Encoder

MOST_KEPT = 4

_Key = tuple[Any, ...]
_Coder = TypeVar("_Coder", "Decoder", "Encoder")


def decoder(
    name: str,
    model_id: bytes | str | None = None,
    *,
    bundle_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> "Decoder":
    """The decoder of the bundle that a file names (``name``, first bytes of ``model_id``); ``options`` are
    Decoder's. Raises what ``find_bundle`` and Decoder raise.
    """
    from decant.decoder import Decoder

    return _coder(Decoder, find_bundle(name, model_id, bundle_dir), options)


def encoder(
    model: str | os.PathLike[str] | Bundle,
    *,
    bundle_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> "Encoder":
    """The encoder of ``model``: a name, a bundle's folder, or an open Bundle; ``options`` are Encoder's.
    Raises what Encoder raises.
    """
    from decant.encoder import Encoder

    return _coder(Encoder, open_bundle(model, bundle_dir), options)


def clear() -> None:
    """Empty the cache. Decoders and encoders that are in use continue to work."""
    for kept in list(_kept.values()):
        kept.clear()


def _coder(kind: type[_Coder], bundle: Bundle, options: dict[str, Any]) -> _Coder:
    given: dict[str, Any] = _defaults(kind) | options
    size_limit = given.pop("size_limit")
    given["threads"] = given["threads"] or usable_cores()
    key = (bundle.path, bundle.manifest.raw["checksum"], *sorted(given.items()))
    loaded = _get(kind, key, lambda: kind(bundle, **given))
    if loaded.size_limit == size_limit:
        return loaded
    other = copy.copy(loaded)  # the same sessions
    other.size_limit = size_limit
    return other


@cache
def _defaults_of(kind: type) -> tuple[tuple[str, Any], ...]:
    found = signature(kind).parameters.values()
    return tuple((p.name, p.default) for p in found if p.kind is p.KEYWORD_ONLY and p.name != "bundle_dir")


def _defaults(kind: type) -> dict[str, Any]:
    """The options of ``kind`` with their defaults; ``bundle_dir``, used up by now, is not among them."""
    return dict(_defaults_of(kind))


# Coders by key, the least recently used first; one dictionary for each kind. Single operations on
# dictionaries are atomic: only loading, once for each key, takes a lock.
_kept: dict[type, dict[_Key, Any]] = {}
_loading: dict[_Key, threading.Lock] = {}


def _get(kind: type[_Coder], key: _Key, load: Callable[[], _Coder]) -> _Coder:
    kept = _kept.setdefault(kind, {})
    found: _Coder | None = kept.pop(key, None)
    if found is None:
        lock_key = (kind, *key)
        with _loading.setdefault(lock_key, threading.Lock()):
            found = kept.pop(key, None) or load()
            kept[key] = found
            _loading.pop(lock_key, None)
    kept[key] = found
    while len(kept) > MOST_KEPT:
        try:
            kept.pop(next(iter(kept)), None)
        except (StopIteration, RuntimeError):  # another thread has changed it: look again
            continue
    return found


# A thread that was loading does not exist in a child, and its lock is never released there.
lifecycle.after_fork(_loading.clear)
