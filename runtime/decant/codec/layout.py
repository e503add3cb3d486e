"""The layout ``grid``: latents at 1/16 of a picture of any size, coded in tiles, and the tables of a quality.

Nothing here runs a graph. A payload becomes integer hyperlatents. From these and the payload come the integer
symbols of each coding tile (docs/format/grid.md):

    payload --parse--> streams --decode_hyper--> z --Quality.scaled--> v --decode_tile--> symbols of a tile

``model.json`` and the tables keep the names of the first version: ``stages`` are the channels of each channel
group, ``halves`` is the number of groups with a checkerboard, ``group`` the side of a coding tile, and
``class`` a scale index.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from decant.codec.entropy import native
from decant.codec.entropy.checkerboard import CheckerboardMeans, anchor_positions, channels_of
from decant.codec.entropy.context_network import ContextNetwork
from decant.codec.entropy.rans import SCALES, EntropyTables
from decant.codec.entropy.scale_network import LARGEST_INPUT, ScaleNetwork
from decant.errors import BundleError, FormatError
from decant.formats.tensors import tensor_of

QUALITIES = 100
LATENT_PIXELS = 16
HYPER_LATENTS = 4
_OFFSET_UNIT, _OFFSET_ZERO = 256, 64  # class_offset: quarters of a scale index, 64 is none
_INPUT_UNIT = 16
_KEYS = {"layout", "channels", "hyper", "class_width", "group", "halo", "stages", "context_width"}
_MORE = {"halves": 1, "mixed_width": 0}  # keys that may be absent, and what that means
_LIMITS = {
    "channels": (1, 4096),
    "hyper": (1, 1024),
    "class_width": (1, 1024),
    "group": (16, 512),
    "halo": (0, 1024),
    "context_width": (1, 1024),
    "halves": (1, 8),
    "mixed_width": (0, 1024),
}
_MOST_GROUPS = 8

# The channels of a part and their scale indices uint8 (n, rows, columns) -> their symbols: integers of that
# shape, within +-32767, and 0 where the index is 0. A group with a checkerboard has two calls, first for the
# anchor positions and then for the others. Positions of the other call have index 0.
Choose: TypeAlias = Callable[[slice, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class GridShape:
    """Sizes of a picture's grids: h x w latents, hz x wz hyperlatents (all per channel), and the tiles as
    (y0, y1, x0, x1) in latents, row by row.
    """

    h: int
    w: int
    hz: int
    wz: int
    tiles: list[tuple[int, int, int, int]] = field(repr=False)


@dataclass(frozen=True)
class GridPayload:
    """The streams in a latents section."""

    hyper: memoryview
    tiles: list[memoryview]


@dataclass(frozen=True)
class Quality:
    """The tables of one quality: gain units (Cui et al. 2021, arXiv:2003.02012).

    Per channel of latents: ``step`` float32, the quantization step; ``gain`` = 1 / step; ``scale_offset``
    int32, a term of the scale-index logits in units of 1/1024 scale index. Per channel of hyperlatents:
    ``hyper_gain`` float32, ``hyper_multiplier`` int32, ``hyper_scale_index`` uint8.
    """

    step: np.ndarray
    gain: np.ndarray
    hyper_gain: np.ndarray
    hyper_multiplier: np.ndarray
    hyper_scale_index: np.ndarray
    scale_offset: np.ndarray

    def scaled(self, z: np.ndarray) -> np.ndarray:
        """Hyperlatents int32 (hyper, hz, wz) -> v, int32 in units of 1/16.

        v is the input of the scale network, and v / 16 that of the graph hyper_mean.
        """
        v = z.astype(np.int32) * self.hyper_multiplier[:, None, None]
        clipped: np.ndarray = np.clip(v, -LARGEST_INPUT, LARGEST_INPUT)
        return clipped


class GridLayout:
    """Latents of ``channels`` x h x w and hyperlatents of ``hyper`` x hz x wz, in coding tiles.

    A coding tile has ``tile_side`` x ``tile_side`` latents. ``halo`` is the receptive field of the synthesis,
    in latents to each side.

    A tile is coded one channel group after the other (Minnen and Singh 2020, arXiv:2007.08739).
    ``channel_groups`` has the channels of each. The first ``checkerboard_groups`` are coded in two parts:
    anchor positions, then the others (He et al. 2021, arXiv:2103.15306).

    Scale indices depend on the symbols of earlier parts through context networks. ``context_width`` is the
    number of their hidden values, and ``mixed_width`` that of a second layer (0: no such layer).
    """

    name = "grid"

    def __init__(self, described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
        self.channels, self.hyper = described["channels"], described["hyper"]
        self.class_width = described["class_width"]
        self.tile_side, self.halo = described["group"], described["halo"]
        self.channel_groups: list[int] = list(described["stages"])
        self.context_width: int = described["context_width"]
        self.checkerboard_groups, self.mixed_width = (
            described.get(key, value) for key, value in _MORE.items()
        )
        self._channels = channels_of(self.channel_groups)
        self.entropy = EntropyTables.from_tensors(tensors)
        self.scales = ScaleNetwork.from_tensors(tensors, self.channels, self.hyper, self.class_width)
        widths = self.context_width, self.scales, self.checkerboard_groups, self.mixed_width
        self.contexts = ContextNetwork.from_tensors(tensors, self.channel_groups, *widths)
        halved = self.channel_groups[: self.checkerboard_groups]
        self.checkerboard_means = CheckerboardMeans.from_tensors(tensors, halved, self.context_width)
        self._quality = _quality_tables(tensors, self.channels, self.hyper)
        # The decoder of streams in C, or None if it is not built.
        sizes = self.channels, self.hyper, self.class_width, self.context_width, self.mixed_width
        self.native = native.decoder_of(tensors, *sizes, self.channel_groups, self.checkerboard_groups)

    @classmethod
    def from_model(cls, model: Mapping[str, Any], tables: Mapping[str, np.ndarray]) -> "GridLayout":
        """The layout that ``model.json`` describes. Raises BundleError."""
        latent = model["latent"]
        if set(latent) - set(_MORE) != _KEYS:
            raise BundleError(f"latent layout grid: keys {sorted(latent)}; {sorted(_KEYS)} expected")
        for key, (low, high) in _LIMITS.items():
            value = latent.get(key, _MORE.get(key))
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise BundleError(f"latent layout grid: {key} {value!r}; {low}..{high} expected")
        _check_channel_groups(latent["stages"], latent["channels"])
        if latent.get("halves", 1) > len(latent["stages"]):
            raise BundleError(
                f"latent layout grid: halves {latent['halves']}; there are {len(latent['stages'])} stages"
            )
        if latent["group"] % HYPER_LATENTS:
            raise BundleError(f"latent layout grid: group {latent['group']}; a multiple of 4 expected")
        if (model["image"]["width"], model["image"]["height"]) != (0, 0):
            raise BundleError("latent layout grid: image width and height must be 0: pictures have any size")
        return cls(latent, tables)

    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""
        more = {"halves": self.checkerboard_groups, "mixed_width": self.mixed_width}
        return {
            "layout": self.name,
            "channels": self.channels,
            "hyper": self.hyper,
            "class_width": self.class_width,
            "group": self.tile_side,
            "halo": self.halo,
            "stages": self.channel_groups,
            "context_width": self.context_width,
            **{key: value for key, value in more.items() if value != _MORE[key]},
        }

    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that the layout needs in tables.safetensors."""
        return {
            **self._quality,
            **self.scales.to_tensors(),
            **self.contexts.to_tensors(),
            **self.checkerboard_means.to_tensors(),
            **self.entropy.to_tensors(),
        }

    def quality(self, quality: int) -> Quality:
        """The tables of ``quality`` 1..100. Raises FormatError for another number."""
        if not 1 <= quality <= QUALITIES:
            raise FormatError(f"quality {quality}; 1..{QUALITIES} expected")
        rows = {
            name.split(".")[1]: table[quality - 1] for name, table in self._quality.items() if table.ndim > 1
        }
        step = self._quality["quality.step_levels"][rows["step_index"]]
        return Quality(
            step=step,
            gain=1 / step,
            hyper_gain=np.float32(_INPUT_UNIT) / rows["hyper_multiplier"],
            hyper_multiplier=rows["hyper_multiplier"].astype(np.int32),
            hyper_scale_index=rows["hyper_class"],
            scale_offset=(rows["class_offset"].astype(np.int32) - _OFFSET_ZERO) * _OFFSET_UNIT,
        )

    def grid(self, width: int, height: int) -> GridShape:
        """The grids of a picture of ``width`` x ``height`` pixels."""
        h, w = -(-height // LATENT_PIXELS), -(-width // LATENT_PIXELS)
        side = self.tile_side
        tiles = [
            (y, min(y + side, h), x, min(x + side, w)) for y in range(0, h, side) for x in range(0, w, side)
        ]
        return GridShape(h, w, -(-h // HYPER_LATENTS), -(-w // HYPER_LATENTS), tiles)

    def parse(self, payload: bytes, width: int, height: int, source: str) -> GridPayload:
        """Split a payload into its streams, without decoding them. Raises FormatError."""
        view = memoryview(payload)
        side = self.tile_side * LATENT_PIXELS
        count = -(-width // side) * -(-height // side)
        at, streams = 0, []
        for index in range(count + 1):
            if index < count:
                length, at = _read_length(view, at, source)
            else:
                length = len(view) - at
            if length > len(view) - at:
                raise FormatError(
                    f"{source}: stream {index} of the latents reaches {length} bytes beyond byte {at}; "
                    f"{len(view) - at} are left"
                )
            if length % 4:
                raise FormatError(
                    f"{source}: stream {index} of the latents has {length} bytes; a multiple of 4 expected"
                )
            streams.append(view[at : at + length])
            at += length
        return GridPayload(streams[0], streams[1:])

    def write(self, hyper: bytes, tiles: Sequence[bytes]) -> bytes:
        """The payload that holds these streams: hyperlatents, then each tile."""
        parts = []
        for stream in (hyper, *tiles[:-1]):
            parts += [_length_bytes(len(stream)), stream]
        return b"".join([*parts, tiles[-1]])

    def decode_hyper(
        self, payload: GridPayload, shape: GridShape, quality: Quality, source: str
    ) -> np.ndarray:
        """The hyperlatents z, int32 (hyper, hz, wz), within +-32767. Raises FormatError."""
        scale_indices = self._hyper_scale_indices(quality, (self.hyper, shape.hz, shape.wz))
        source = f"{source}: hyperlatents"
        if self.native is not None:
            return self.native.decode_part(payload.hyper, scale_indices, source).astype(np.int32)
        stream = self.entropy.decoder(payload.hyper, source)
        z = stream.decode(scale_indices).astype(np.int32)
        stream.finish()
        return z

    def decode_tile(
        self, payload: GridPayload, index: int, v: np.ndarray, shape: GridShape, quality: Quality, source: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode tile ``index``. ``v`` is ``quality.scaled`` of the picture's hyperlatents.

        Returns the symbols, float32 (M, rows, columns) that hold integers, and the corrections of means by
        the checkerboard mean context, float32 (channels of groups with a checkerboard, rows, columns).
        Raises FormatError.
        """
        tile, stream_bytes, source = shape.tiles[index], payload.tiles[index], f"{source}: tile {index}"
        if self.native is not None:
            return self.native.decode_tile(stream_bytes, v, tile, quality.scale_offset, quality.step, source)
        stream = self.entropy.decoder(stream_bytes, source)
        symbols = np.zeros((self.channels, tile[1] - tile[0], tile[3] - tile[2]), np.float32)

        def read(channels: slice, scale_indices: np.ndarray) -> np.ndarray:
            return stream.decode(scale_indices, symbols[channels])

        self._scale_indices(v, quality, tile, read)
        stream.finish()
        return symbols, self.checkerboard_means.added(symbols, quality.step)

    def choose_symbols(
        self, v: np.ndarray, quality: Quality, tile: tuple[int, int, int, int], choose: Choose
    ) -> tuple[np.ndarray, np.ndarray]:
        """Quantize one tile, or any rectangle that is coded as a tile.

        ``choose`` is called for one part after the other, with the scale indices that follow from the symbols
        of the earlier parts. ``v`` is ``quality.scaled`` of the picture's hyperlatents.

        Returns the symbols, of the type that ``choose`` gives, and their scale indices uint8; both have the
        shape (M, rows, columns).
        """
        anchors = anchor_positions(tile[1] - tile[0], tile[3] - tile[2])
        channel_groups: dict[int, np.ndarray] = {}

        def keep(channels: slice, scale_indices: np.ndarray) -> np.ndarray:
            chosen, begun = choose(channels, scale_indices), channel_groups.get(channels.start)
            channel_groups[channels.start] = chosen if begun is None else np.where(anchors, begun, chosen)
            return chosen

        scale_indices = self._scale_indices(v, quality, tile, keep)
        return np.concatenate(list(channel_groups.values())), scale_indices

    def _scale_indices(
        self, v: np.ndarray, quality: Quality, tile: tuple[int, int, int, int], choose: Choose
    ) -> np.ndarray:
        """The scale indices uint8 (M, rows, columns) of a tile, whose symbols come from ``choose``."""
        y0, y1, x0, x1 = tile
        frame = self.scales.frame(v, (y0, y1), (x0, x1))
        contexts = self.contexts.tile(frame)
        scale_indices = np.empty((self.channels, y1 - y0, x1 - x0), np.uint8)
        anchors, context = anchor_positions(y1 - y0, x1 - x0), None
        for i, channels in enumerate(self._channels):
            found = self.scales.scale_indices(frame, quality.scale_offset, channels, context)
            if i < self.checkerboard_groups:
                begun = found * anchors
                symbols = choose(channels, begun)
                context = contexts.after_anchors(symbols * anchors)
                ended = self.scales.scale_indices(frame, quality.scale_offset, channels, context) * ~anchors
                symbols = np.where(anchors, symbols, choose(channels, ended))
                found = begun + ended
            else:
                symbols = choose(channels, found)
            scale_indices[channels] = found
            if i + 1 < len(self.channel_groups):
                context = contexts.add(symbols)
        return scale_indices

    def encode_hyper(self, z: np.ndarray, quality: Quality) -> bytes:
        """Hyperlatents int32 (hyper, hz, wz) -> their stream."""
        return self.entropy.encode([(z, self._hyper_scale_indices(quality, z.shape))])

    def encode_tile(self, symbols: np.ndarray, scale_indices: np.ndarray) -> bytes:
        """Symbols (M, rows, columns) and ``scale_indices`` of a tile (``choose_symbols``) -> its stream."""
        anchors, parts = anchor_positions(*symbols.shape[1:]), []
        for i, channels in enumerate(self._channels):
            values, found = symbols[channels], scale_indices[channels]
            kinds = (found * anchors, found * ~anchors) if i < self.checkerboard_groups else (found,)
            parts += [(values, kind) for kind in kinds]
        return self.entropy.encode(parts)

    def _hyper_scale_indices(self, quality: Quality, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(quality.hyper_scale_index[:, None, None], shape)


def _check_channel_groups(channel_groups: Any, channels: int) -> None:
    """Raises BundleError unless these are the sizes of channel groups that add up to ``channels``."""
    numbers = isinstance(channel_groups, list) and all(
        type(count) is int and count > 0 for count in channel_groups
    )
    if not numbers or len(channel_groups) > _MOST_GROUPS or sum(channel_groups) != channels:
        raise BundleError(
            f"latent layout grid: stages {channel_groups!r}; 1..{_MOST_GROUPS} positive integers of sum "
            f"{channels} expected"
        )


def _quality_tables(tensors: Mapping[str, np.ndarray], channels: int, hyper: int) -> dict[str, np.ndarray]:
    """The tables named ``quality.*``, checked. Raises BundleError."""
    found = {}
    for name, dtype, shape in (
        ("step_levels", np.float32, (256,)),
        ("step_index", np.uint8, (QUALITIES, channels)),
        ("hyper_multiplier", np.uint8, (QUALITIES, hyper)),
        ("hyper_class", np.uint8, (QUALITIES, hyper)),
        ("class_offset", np.uint8, (QUALITIES, channels)),
    ):
        found[f"quality.{name}"] = tensor_of(tensors, f"quality.{name}", dtype, shape)
    levels = found["quality.step_levels"]
    if not np.isfinite(levels).all() or (levels <= 0).any():
        raise BundleError("tables: quality.step_levels holds a number that is not positive and finite")
    if (np.diff(levels) < 0).any():
        raise BundleError("tables: quality.step_levels does not ascend")
    if (found["quality.hyper_multiplier"] < 1).any():
        raise BundleError("tables: quality.hyper_multiplier holds 0; 1..255 expected")
    hyper_scale_index = found["quality.hyper_class"]
    if (hyper_scale_index < 1).any() or (hyper_scale_index >= SCALES).any():
        raise BundleError(f"tables: quality.hyper_class holds a scale index outside 1..{SCALES - 1}")
    return found


def _length_bytes(length: int) -> bytes:
    """LEB128: 7 bits per byte, lowest first. The high bit is set in all bytes but the last."""
    out = bytearray()
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)


def _read_length(view: memoryview, at: int, source: str) -> tuple[int, int]:
    """The LEB128 number at byte ``at``, and the position after it. Raises FormatError for a number that is
    longer than needed, or than 5 bytes.
    """
    length = 0
    for shift in range(0, 35, 7):
        if at >= len(view):
            raise FormatError(f"{source}: the latents end at byte {at}, within the length of a stream")
        byte = view[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                break
            return length, at
    raise FormatError(f"{source}: a length at byte {at} of the latents has more bytes than it needs")
