"""Damaged ``.dcn`` files: random damage of the kinds that disks, transfers and fuzzers do, with or without
checksums made right again.
"""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from decant.formats import container

_FIXED = 21  # bytes of the header before the bundle's name


def flip_bits(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for at in random.integers(0, len(data), random.integers(1, 5)):
        changed[at] ^= 1 << int(random.integers(8))
    return bytes(changed)


def replace_bytes(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for at in random.integers(0, len(data), random.integers(1, 20)):
        changed[at] = random.integers(256)
    return bytes(changed)


def cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: random.integers(len(data))]


def insert(data: bytes, random: np.random.Generator) -> bytes:
    at = int(random.integers(len(data) + 1))
    return data[:at] + random.bytes(int(random.integers(1, 65))) + data[at:]


def swap_blocks(data: bytes, random: np.random.Generator) -> bytes:
    size = int(random.integers(1, max(2, len(data) // 4)))
    first, second = sorted(int(at) for at in random.integers(0, max(1, len(data) - size), 2))
    second = min(max(second, first + size), len(data))
    a, b = data[first : first + size], data[second : second + size]
    return data[:first] + b + data[first + size : second] + a + data[second + size :]


def fill_block(data: bytes, random: np.random.Generator) -> bytes:
    """Zeros or ones, as after a lost block of a disk."""
    at, size = int(random.integers(len(data))), int(random.integers(1, 65))
    block = bytes([int(random.choice([0, 255]))]) * min(size, len(data) - at)
    return data[:at] + block + data[at + len(block) :]


KINDS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    flip_bits,
    replace_bytes,
    cut,
    insert,
    swap_blocks,
    fill_block,
)


def section(kind: int, payload: bytes, claimed: int | None = None) -> bytes:
    """A section with a right checksum; ``claimed`` is a false length."""
    body = struct.pack("<BI", kind, len(payload) if claimed is None else claimed) + payload
    return body + struct.pack("<I", zlib.crc32(body))


def header(file: container.DcnFile, sections: int, **change: object) -> bytes:
    """The header of ``file`` with a right checksum and whatever fields."""
    fields = {
        "name": file.name.encode(),
        "width": file.width,
        "height": file.height,
        "quality": file.quality,
        "flags": file.grey + 2 * (file.alpha is not None),
        **change,
    }
    name = fields["name"]
    head = struct.pack(
        "<4sBBBB8sHHB",
        container.MAGIC,
        container.VERSION,
        fields["flags"],
        fields["quality"],
        sections,
        file.model_id,
        fields["width"],
        fields["height"],
        len(name),
    )
    return head + name + struct.pack("<I", zlib.crc32(head + name))


def reseal(data: bytes) -> bytes:
    """Right checksums wherever the header and the section table still say where they are."""
    changed = bytearray(data)
    if len(data) < _FIXED:
        return data
    start, at = 0, _FIXED + data[_FIXED - 1]
    for _ in range(1 + data[7]):
        if at + 4 > len(data):
            break
        changed[at : at + 4] = struct.pack("<I", zlib.crc32(changed[start:at]))
        start = at + 4
        if start + 5 > len(data):
            break
        at = start + 5 + struct.unpack_from("<I", data, start + 1)[0]
    return bytes(changed)


def split(data: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A good file -> its header and its sections' (type, payload)."""
    at = container.parse_header(data).size
    head, found = data[:at], []
    while at < len(data):
        kind, length = struct.unpack_from("<BI", data, at)
        found.append((kind, data[at + 5 : at + 5 + length]))
        at += 9 + length
    return head, found


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """A good file, damaged in one way. One in two keeps its old checksums; one in four has them made right
    where the structure still shows where they are; one in four is damaged inside one payload, and everything
    around it is right.
    """
    kind = KINDS[random.integers(len(KINDS))]
    way = random.integers(4)
    if way < 2:
        return kind(data, random)
    if way == 2:
        return reseal(kind(data, random))
    head, sections = split(data)
    weights = np.sqrt([len(payload) for _, payload in sections])  # the small ones are hit too
    hit = random.choice(len(sections), p=weights / weights.sum())
    sections[hit] = (sections[hit][0], kind(sections[hit][1], random))
    return head + b"".join(section(*each) for each in sections)
