"""Pictures of the demo page: ``python pictures.py DIST/demo [PICTURE...]``.

Each is written as .dcn (model `nano`), and as AVIF and JPEG of about as many bytes; pictures.json lists them.
Without pictures, photos that come with scikit-image are taken.
"""

import gzip
import io
import json
import sys
from pathlib import Path

import decant
from PIL import Image

QUALITY = 50
WAYS = {"avif": ("AVIF", {"speed": 4}), "jpg": ("JPEG", {"optimize": True, "progressive": True})}


def _of_size(image: Image.Image, kind: str, most: int) -> bytes:
    """``image`` as the best file of at most ``most`` bytes, or as the smallest file."""
    form, options = WAYS[kind]
    low, high, best = 1, 95, b""
    while low <= high:
        quality = (low + high) // 2
        stream = io.BytesIO()
        image.save(stream, form, quality=quality, **options)
        data = stream.getvalue()
        if len(data) <= most or not best or len(data) < len(best) > most:
            best = data
        low, high = (quality + 1, high) if len(data) <= most else (low, quality - 1)
    return best


def _pictures(paths: list[str]) -> dict[str, Image.Image]:
    if paths:
        return {Path(path).stem: Image.open(path).convert("RGB") for path in paths}
    import skimage.data

    return {
        name: Image.fromarray(getattr(skimage.data, name)()) for name in ("chelsea", "astronaut", "coffee")
    }


def write(folder: Path, paths: list[str]) -> None:
    """Write the files of the demo into ``folder``, which lies in a built package."""
    listed = []
    for title, image in _pictures(paths).items():
        name = f"picture{len(listed)}"
        data = decant.encode(image, "nano", QUALITY)
        (folder / f"{name}.dcn").write_bytes(data)
        for kind in WAYS:
            (folder / f"{name}.{kind}").write_bytes(_of_size(image, kind, len(data)))
        listed.append({"name": name, "title": title, "width": image.width, "height": image.height})
    wasm = len(gzip.compress((folder.parent / "decant.wasm").read_bytes(), 9))
    model = (folder.parent / "models" / "nano.dcnm").stat().st_size
    (folder / "pictures.json").write_text(json.dumps({"pictures": listed, "wasm": wasm, "model": model}))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:])
