"""The pictures of the content groups that come inside the wheels of scikit-image, scikit-learn, matplotlib.

Sources and licences are those that the packages name (scikit-image: the functions of ``skimage.data``;
scikit-learn: ``datasets/images/README.txt``).
"""

from dataclasses import dataclass
from importlib import resources

from PIL import Image

_SKIMAGE, _SKLEARN, _MATPLOTLIB = "skimage/data", "sklearn/datasets/images", "matplotlib/mpl-data/sample_data"
# JPEG's blocks are in what was a JPEG file, and favour JPEG: it is reduced, which takes most of them away.
REDUCED = 0.6


@dataclass(frozen=True)
class WheelPicture:
    """``folder``: below the root of a package; ``scale``: by which it is reduced."""

    group: str
    folder: str
    file: str
    source: str
    licence: str
    scale: float = 1.0

    @property
    def name(self) -> str:
        """The file's name without extension."""
        return self.file.rsplit(".", 1)[0]

    def open(self) -> Image.Image:
        """Mode RGB; what is transparent lies on white."""
        package, _, below = self.folder.partition("/")
        with resources.files(package).joinpath(below, self.file).open("rb") as file:
            image = Image.open(file).convert("RGBA")
        flat = Image.new("RGBA", image.size, "white")
        flat.alpha_composite(image)
        opaque = flat.convert("RGB")
        size = (round(opaque.width * self.scale), round(opaque.height * self.scale))
        return opaque if self.scale == 1 else opaque.resize(size, Image.Resampling.LANCZOS)


_FREE = "no known copyright restrictions"
_BSD = "BSD-3-Clause, with scikit-image; no other source named"
PICTURES = (
    WheelPicture("photos", _SKIMAGE, "chelsea.png", "Stefan van der Walt", "CC0"),
    WheelPicture("photos", _SKIMAGE, "coffee.png", "Rachel Michetti, Pikolo Espresso Bar", "CC0"),
    WheelPicture(
        "photos", _SKIMAGE, "motorcycle_left.png", "Middlebury stereo benchmark 2014", "with scikit-image"
    ),
    WheelPicture("photos", _SKLEARN, "china.jpg", "danielbuechele, Flickr", "CC BY 2.0", REDUCED),
    WheelPicture("photos", _SKLEARN, "flower.jpg", "vultilion, Flickr", "CC BY 2.0", REDUCED),
    WheelPicture("photos", _SKIMAGE, "clock_motion.png", "Stefan van der Walt", "public domain"),
    WheelPicture("faces", _SKIMAGE, "astronaut.png", "NASA, Eileen Collins", "public domain"),
    WheelPicture("faces", _SKIMAGE, "camera.png", "Lav Varshney", "CC0"),
    WheelPicture(
        "faces", _MATPLOTLIB, "grace_hopper.jpg", "US Navy, Grace Hopper", "with matplotlib", REDUCED
    ),
    WheelPicture("text", _SKIMAGE, "page.png", "a scanned page", _BSD),
    WheelPicture("text", _SKIMAGE, "text.png", "Wikipedia, Corner.png", "public domain"),
    WheelPicture("drawings", _SKIMAGE, "color.png", "a colour wheel", _BSD),
    WheelPicture("drawings", _SKIMAGE, "horse.png", "Andreas Preuss, openclipart", "CC0"),
    WheelPicture("drawings", _SKIMAGE, "logo.png", "the logo of scikit-image", _BSD),
    WheelPicture("textures", _SKIMAGE, "brick.png", "CC0Textures, Bricks25", "CC0"),
    WheelPicture("textures", _SKIMAGE, "grass.png", "linolafett, DeviantArt", "CC0"),
    WheelPicture("textures", _SKIMAGE, "gravel.png", "CC0Textures, Gravel04", "CC0"),
    WheelPicture("science", _SKIMAGE, "coins.png", "Brooklyn Museum", _FREE),
    WheelPicture("science", _SKIMAGE, "hubble_deep_field.jpg", "NASA, HubbleSite", "public domain", REDUCED),
    WheelPicture("science", _SKIMAGE, "ihc.png", "CMMI, stained tissue", _FREE),
    WheelPicture("science", _SKIMAGE, "moon.png", "the moon's surface", _BSD),
    WheelPicture("science", _SKIMAGE, "retina.jpg", "Mikael Häggström", "CC0", 0.36),
    WheelPicture("science", _SKIMAGE, "cell.png", "Paul Müller and others, a cell in saline", "CC0"),
    WheelPicture("night", _SKIMAGE, "rocket.jpg", "SpaceX, DSCOVR at dusk", "public domain", REDUCED),
)


def named(name: str) -> WheelPicture:
    """The one called ``name``."""
    return next(picture for picture in PICTURES if picture.name == name)
