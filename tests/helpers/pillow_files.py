"""Pictures and files for the tests of the Pillow plugin."""

import io
from typing import Any

from PIL import ExifTags, Image, ImageCms

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


EXIF = exif_of(6).tobytes()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def saved(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "DCN", **options)
    return stream.getvalue()


def round_trip(image: Image.Image, **options: Any) -> Image.Image:
    return opened(saved(image, **options))
