"""Every error that decant raises on purpose.

    DecantError
    ├── FormatError           a .dcn file is damaged, or is no .dcn file
    ├── BundleError           a bundle is damaged or contradicts itself
    │   ├── ModelNotFoundError    no bundle for the model that a file or a command names
    │   └── GoldenError           a graph decodes its golden files wrongly on this runtime
    ├── DeviceError           the device or runtime asked for is not here, or strict mode refused another
    ├── ImageError            an image that cannot be encoded, or a picture that cannot be written
    ├── SizeLimitError        more pixels than --size-limit allows
    └── MissingExtraError     an optional dependency is not installed

Each message is one line: what is wrong, where, and what to do about it. Warnings, one line as well, derive
from DecantWarning:

    DecantWarning
    ├── AnimationWarning      the picture has frames or pages that are not encoded
    ├── MetadataWarning       metadata of the picture is damaged, or cannot be kept
    └── QualityWarning        no quality reproduces the picture well; the message gives its PSNR
"""

from decant.text import escaped


class DecantError(Exception):
    """Base of all errors below."""

    def __init__(self, message: str) -> None:
        # Messages quote other libraries and file contents; whatever those hold, ours stays one printable
        # line.
        super().__init__(escaped(" ".join(message.split())))


class FormatError(DecantError):
    """A ``.dcn`` file is damaged, or is no ``.dcn`` file."""


class BundleError(DecantError):
    """A bundle is damaged or contradicts itself."""


class ModelNotFoundError(BundleError):
    """No bundle was found for a model. The message has its name, its id and the searched folders."""


class GoldenError(BundleError):
    """A graph decodes its golden files worse than its floor on this runtime, and is refused there."""


class DeviceError(DecantError):
    """The requested device or runtime is not present, or strict mode refused to run on another one."""


class ImageError(DecantError):
    """An image that cannot be encoded, or a picture that cannot be written."""


class SizeLimitError(DecantError):
    """An image has more pixels than the size limit allows."""


class MissingExtraError(DecantError):
    """An optional dependency is not installed; the message holds the pip command."""


class DecantWarning(UserWarning):
    """Base of the warnings that decant gives."""


class AnimationWarning(DecantWarning):
    """The picture has more frames or pages than the one that is encoded.

    ``warnings.simplefilter("error", AnimationWarning)`` refuses such pictures.
    """


class MetadataWarning(DecantWarning):
    """Metadata of a picture is damaged, or the file cannot hold it. The pixels are not affected."""


class QualityWarning(DecantWarning):
    """No quality of the model reproduces a picture well. The file was written; another format is better."""
