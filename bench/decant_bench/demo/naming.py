"""What codecs are called on the page of a demo."""

_PEERS = {"jpeg": "JPEG", "avif": "AVIF"}


def shown_name(label: str) -> str:
    """``JPEG`` for ``jpeg``; ``decant lite`` for ``lite int16``, whose precision stands in a table."""
    return _PEERS.get(label) or f"decant {label.split()[0]}"
