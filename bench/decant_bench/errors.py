"""The one error of this package's own; whatever the runtime refuses is an error of decant.errors."""

from decant.errors import DecantError


class BenchError(DecantError):
    """A measurement that cannot be made, or a record that cannot be read or compared."""
