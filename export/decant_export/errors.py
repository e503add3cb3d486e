"""What export raises besides the runtime's own errors."""

from decant.errors import DecantError


class ExportError(DecantError):
    """A checkpoint cannot be exported as asked; the message says why and what to change."""
