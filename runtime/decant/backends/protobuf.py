"""The wire format of Protocol Buffers, read strictly: the fields of a message, none repeated or unknown.

It knows no schema: ``fields`` takes the numbers that a message may have. Bytes are given as views, so that
reading takes no memory for the weights in a graph. Time is linear in the number of fields.
"""

from collections.abc import Collection, Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1


class WireError(ValueError):
    """The bytes are no message of the kind expected; the text says why."""


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The unsigned number (below 2^64) at ``at``, and where the next byte is. Raises WireError."""
    value = shift = 0
    end = len(data)
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value > _MASK:
                raise WireError("a number of more than 64 bits")
            return value, at
        shift += 7
        if shift > 63:
            break
    raise WireError("a number that does not end")


def signed(value: int) -> int:
    """The int64 that is written as the unsigned ``value``."""
    return value - (1 << 64) if value >> 63 else value


def fields(
    data: memoryview, kinds: dict[int, int], repeated: Collection[int], what: str
) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of each field of a message called ``what`` in errors.

    ``kinds`` gives the wire type of every field that may occur; each of ``repeated`` may occur again. Where
    a repeated number is packed, it comes as a view. Raises WireError for anything else.
    """
    at, end, seen = 0, len(data), 0
    while at < end:
        tag = data[at]
        if tag < 128:
            at += 1
        else:
            tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        expected = kinds.get(number)
        if expected is None:
            raise WireError(f"{what} with field {number}, which is not allowed in graphs")
        packed = wire == BYTES and expected != BYTES and number in repeated
        if wire != expected and not packed:
            raise WireError(f"{what}: field {number} of wire type {wire}; {expected} expected")
        if number not in repeated:
            if seen >> number & 1:
                raise WireError(f"{what}: field {number} is given twice")
            seen |= 1 << number
        if wire == VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if wire == BYTES:
            size = data[at] if at < end else 128
            if size < 128:
                at += 1
            else:
                size, at = varint(data, at)
        else:
            size = 8 if wire == FIXED64 else 4
        if size > end - at:
            raise WireError(f"{what}: field {number} of {size} bytes reaches beyond the end")
        yield number, data[at : at + size]
        at += size


def numbers(value: int | memoryview, most: int, what: str) -> list[int]:
    """The int64 numbers of one occurrence of a repeated field: one, or a packed list of at most ``most``.
    Raises WireError.
    """
    if isinstance(value, int):
        return [signed(value)]
    found: list[int] = []
    at = 0
    while at < len(value):
        number, at = varint(value, at)
        found.append(signed(number))
        if len(found) > most:
            raise WireError(f"{what}: more than {most} numbers")
    return found


def text(value: int | memoryview, what: str, most: int = 512) -> str:
    """A field's UTF-8 text of at most ``most`` bytes. Raises WireError."""
    assert isinstance(value, memoryview)
    if len(value) > most:
        raise WireError(f"{what} of {len(value)} bytes; at most {most} expected")
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise WireError(f"{what} is no UTF-8") from None
