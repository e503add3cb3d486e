"""What packing and unpacking can be asked for; plain values, so that a worker or another machine gets them
whole, and a resumed run can tell whether they changed.
"""

from dataclasses import asdict, dataclass
from typing import Any

from decant.errors import ImageError
from decant.formats.container import DEFAULT_SIZE_LIMIT
from decant.formats.png import check_level
from decant.settings import DEFAULT_MODEL, Settings

OUTPUTS = ("png", "jpeg", "webp", "ppm", "npy", "dcn")
EMBED = ("slim", "full", "none")


@dataclass(frozen=True)
class PackSettings:
    """How pictures are encoded, and what is stored.

    ``model`` is a bundle's name or folder. ``embed`` says what of the bundle goes into the archive: ``slim``,
    its decoder; ``full``, all of it; ``none``. ``unit_rows`` and ``unit_bytes`` (of the sources) bound what
    one worker does before its result is on disk; ``part_units`` is how many units make a part.
    """

    model: str = DEFAULT_MODEL
    bundle_dir: str | None = None
    quality: int | None = None
    effort: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    to_srgb: bool = False
    depth: int | None = None
    device: str = "cpu"
    runtime: str = "auto"
    strict_device: bool = False
    size_limit: int = DEFAULT_SIZE_LIMIT
    embed: str = "slim"
    keep_duplicates: bool = False
    unit_rows: int = 128
    unit_bytes: int = 32 << 20
    part_units: int = 64

    def __post_init__(self) -> None:
        """Raises ImageError for a value out of range."""
        if self.embed not in EMBED:
            raise ImageError(f"embed {self.embed!r}; one of {', '.join(EMBED)} expected")
        for name in ("unit_rows", "unit_bytes", "part_units"):
            if getattr(self, name) < 1:
                raise ImageError(f"{name} {getattr(self, name)}; 1 or more expected")
        Settings(self.quality, self.effort, self.target_bpp, self.target_psnr).checked("<settings>")

    def encoding(self) -> dict[str, Any]:
        """The settings of ``Encoder.encode``."""
        names = ("quality", "effort", "target_bpp", "target_psnr", "to_srgb", "depth")
        return {name: getattr(self, name) for name in names}

    def described(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class UnpackSettings:
    """What pictures become: ``output`` is one of ``OUTPUTS`` (dcn: the payloads as they are). ``tar`` writes
    one tar file for each part instead of single files. ``quality`` is for jpeg and webp (webp without it is
    lossless); ``png_level`` is 0 to 9.
    """

    output: str = "png"
    tar: bool = False
    quality: int | None = None
    png_level: int | None = None
    upright: bool = False
    device: str = "cpu"
    runtime: str = "auto"
    precision: str = "auto"
    strict_device: bool = False
    size_limit: int = DEFAULT_SIZE_LIMIT
    bundle_dir: str | None = None

    def __post_init__(self) -> None:
        """Raises ImageError for a value out of range."""
        if self.output not in OUTPUTS:
            raise ImageError(f"output {self.output!r}; one of {', '.join(OUTPUTS)} expected")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ImageError(f"quality {self.quality}; 1 to 100 expected")
        check_level(self.png_level)

    def decoding(self) -> dict[str, Any]:
        """The options of Decoder."""
        names = ("device", "runtime", "precision", "strict_device", "size_limit")
        return {name: getattr(self, name) for name in names}

    def described(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)
