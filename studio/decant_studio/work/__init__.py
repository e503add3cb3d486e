"""What the worker processes do: pure functions from bytes to results; nothing here knows of HTTP."""
