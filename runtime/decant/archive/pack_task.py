"""Packing one unit: pictures are read, hashed and encoded, and the rows written as one file."""

import hashlib
import os
import warnings
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from decant.archive.plan import Plan, Planned, read_plan
from decant.archive.schema import DUPLICATE, ENCODED, STORED, UNIT, WORK_FOLDER
from decant.archive.settings import PackSettings
from decant.archive.sources import read_item
from decant.archive.storage import Store, store_at
from decant.archive.tasks import Step, Tell, UnitResult
from decant.batch import message_of
from decant.formats import container
from decant.process.failures import is_from_signal_handler

if TYPE_CHECKING:
    from PIL import Image

    from decant.encoder import Encoder

_EXIF_FOLDER, _TAKEN, _CHANGED = 0x8769, 0x9003, 0x0132  # DateTimeOriginal; DateTime


def unit_name(unit: int) -> str:
    """The file of a unit's rows, in the archive's folder."""
    return f"{WORK_FOLDER}/unit-{unit:08d}.arrow"


class PackTask:
    """Encodes units of the plan in the work folder of the archive ``place``."""

    def __init__(self, place: str, settings: PackSettings) -> None:
        self._place = place
        self._settings = settings
        self._store: Store
        self._plan: Plan
        self._encoder: Encoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_place": self._place, "_settings": self._settings, "_encoder": None}

    def open(self) -> None:
        """Read the plan. Raises OSError, FormatError."""
        from PIL import Image

        self._store = store_at(self._place)
        self._plan = read_plan(self._store, self._settings)
        if self._settings.size_limit > container.DEFAULT_SIZE_LIMIT:  # which is Pillow's own limit
            Image.MAX_IMAGE_PIXELS = None

    def run(self, unit: int, tell: Tell, lethal: dict[int, str]) -> UnitResult:
        """Encode a unit and write its rows. Raises DecantError, OSError: what is no single picture's."""
        result = UnitResult(unit)
        rows = []
        for index, planned in enumerate(self._plan.items(unit)):
            tell(Step(index, begun=True))
            row = self._row(planned, lethal.get(index))
            rows.append(row)
            step = Step(
                index,
                row["source_bytes"] or 0,
                row["bytes"] or 0 if row["status"] != DUPLICATE else 0,
                row["error"] is not None,
            )
            result.pictures += not step.failed
            result.failed += step.failed
            result.bytes_in += step.bytes_in
            result.bytes_out += step.bytes_out
            tell(step)
        table = pa.Table.from_pylist(rows, schema=UNIT)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, UNIT) as writer:
            writer.write_table(table)
        self._store.write(unit_name(unit), sink.getvalue().to_pybytes())
        return result

    def _row(self, planned: Planned, lethal: str | None) -> dict[str, Any]:
        item = planned.item
        row: dict[str, Any] = dict.fromkeys(UNIT.names)
        row |= {"key": item.key, "source": os.fsencode(item.shown).decode("utf-8", "backslashreplace")}
        row |= {"source_bytes": item.size, "status": ENCODED}
        if planned.error or lethal:
            return row | {"error": f"{item.shown}: {planned.error or lethal}"}
        if planned.same_as is not None:
            return row | {
                "status": DUPLICATE,
                "same_as": planned.same_as,
                "source_sha256": planned.sha256,
            }
        try:
            data = read_item(item)
            row |= {"source_bytes": len(data), "source_sha256": hashlib.sha256(data).digest()}
            if data.startswith(container.MAGIC):
                container.parse(data, item.shown)
                payload, date, status = data, None, STORED
            else:
                payload, date = self._encode(data, item.shown)
                status = ENCODED
            header = container.parse_header(payload, item.shown)
        except Exception as error:
            if is_from_signal_handler(error) or _is_ours(error):
                raise
            return row | {"error": message_of(error, item.shown)}
        return row | {
            "image": {"bytes": payload, "path": None},
            "width": header.width,
            "height": header.height,
            "bytes": len(payload),
            "model_id": f"{header.name}:{header.model_id.hex()}",
            "payload_sha256": hashlib.sha256(payload).digest(),
            "date": date,
            "status": status,
        }

    def _encode(self, data: bytes, source: str) -> tuple[bytes, datetime | None]:
        from decant.formats.opening import open_picture

        encoder = self._loaded()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_picture(data, source, self._settings.size_limit) as image:
                payload = encoder.encode(image, source=source, **self._settings.encoding())
                return payload, date_of(image)

    def _loaded(self) -> "Encoder":
        """The encoder, loaded when the first picture needs it: archives of ``.dcn`` files need none."""
        if self._encoder is None:
            from decant.encoder import Encoder

            given = self._settings
            try:
                self._encoder = Encoder(
                    given.model,
                    threads=1,
                    device=given.device,
                    runtime=given.runtime,
                    strict_device=given.strict_device,
                    size_limit=given.size_limit,
                    bundle_dir=given.bundle_dir,
                )
            except Exception as error:
                error.decant_of_run = True  # type: ignore[attr-defined]
                raise
        return self._encoder


def _is_ours(error: Exception) -> bool:
    """Whether an error concerns the whole run, not one picture."""
    return getattr(error, "decant_of_run", False)


def date_of(image: "Image.Image") -> datetime | None:
    """When a picture was taken, of its EXIF (DateTimeOriginal, or DateTime), in the camera's local time."""
    try:
        exif = image.getexif()
        text = exif.get_ifd(_EXIF_FOLDER).get(_TAKEN) or exif.get(_CHANGED)
        return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S") if text else None
    except Exception as error:  # Pillow's reader raises whatever a broken block leads it to
        if is_from_signal_handler(error):
            raise
        return None
