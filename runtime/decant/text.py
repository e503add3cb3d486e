"""Text from files, bundles and file names, made safe to show in a terminal."""


def escaped(text: str, keep: str = "") -> str:
    """``text`` with every character that a terminal obeys rather than shows as a backslash escape.

    Control characters, terminal escapes and direction marks become ``\\x1b``, ``\\n`` or ``\\u202e``. A byte
    of a file name that is not UTF-8 becomes ``\\xff``. Spaces of every width and the characters in ``keep``
    stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep or _is_space(c) else _escape(c) for c in text)


def _is_space(character: str) -> bool:
    import unicodedata

    return unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
