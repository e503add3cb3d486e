"""A latency record as files: JSON, Markdown for an issue tracker, and one HTML page."""

from pathlib import Path

from decant.formats.paths import takes_paths

from decant_bench.common import pages, quiet, record, stats
from decant_bench.common.pages import Section
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, images_told, number
from decant_bench.latency import plots
from decant_bench.latency import table as latency_table


@takes_paths
def write(found: Record, out: Path) -> list[Path]:
    """Write latency.json, latency.md and latency.html into ``out``; gives the paths. Raises OSError."""
    record.write(found, out / "latency.json")
    (out / "latency.md").write_text(as_markdown(found), encoding="utf-8")
    page = pages.write(as_html(found), out / "latency.html")
    return [out / "latency.json", out / "latency.md", page]


def tables(found: Record) -> list[Table]:
    """Decode, load, picture sizes (where the record has them), and the published ratios."""
    figures = latency_table.figures(found)
    shown = [
        Table(
            latency_table.DECODE_HEADERS, latency_table.decode_rows(figures), "Decode", _about(found), left=2
        ),
        Table(
            latency_table.LOAD_HEADERS,
            latency_table.load_rows(figures),
            "Load and cold process",
            latency_table.LOAD_NOTE,
            left=2,
        ),
    ]
    if found.get("sweep"):
        shown.append(sweep_table(found))
    return [
        *shown,
        Table(
            latency_table.PUBLISHED_HEADERS,
            latency_table.published_rows(figures),
            "Ratios to JPEG, here and as published",
            latency_table.published_note(),
        ),
    ]


def sweep_table(found: Record) -> Table:
    """Median milliseconds and megapixels per second by picture size: a row a decoder, one thread."""
    sides = sorted({row["side"] for row in found["sweep"]})
    labels = list(dict.fromkeys(row["label"] for row in found["sweep"]))
    cells = {(row["label"], row["side"]): row for row in found["sweep"]}
    rows = []
    for label in labels:
        shown = [label]
        for side in sides:
            row = cells[label, side]
            ms = stats.summarise(stats.flatten(row["decode_ns"])).median / 1e6
            shown += [number(ms), number(1e3 * row["megapixels"] / ms)]
        rows.append(shown)
    heads = [head for side in sides for head in (f"{side}x{side},\nms", "MP/s")]
    note = (
        "Steady decodes on one thread, medians of interleaved rounds. Pictures are photographs, mirrored "
        "until they fill the square."
    )
    return Table(("decoder", *heads), rows, "Picture sizes", note)


def as_markdown(found: Record) -> str:
    """The tables, then command, machine and versions."""
    machine = found["machine"]
    parts = [f"# Load and decode latency on {machine['cpu']}"]
    for table in tables(found):
        parts += [f"## {table.title}", table.markdown()]
    if gone := latency_table.refused(found):
        parts += ["## Not measured", "\n".join(f"* {what}: {why}" for what, why in gone)]
    flags = ", ".join(machine["flags"]) or "none of those known"
    parts += [
        "## Made by",
        f"```sh\n{found['command']}\n```",
        f"{found['created']}, {machine['cpu']}, {machine['cores_usable']} cores, governor "
        f"{machine['governor'] or 'unknown'}. Instruction sets: {flags}.",
        ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version),
    ]
    return "\n\n".join(parts) + "\n"


def as_html(found: Record) -> str:
    """One page that fetches nothing."""
    machine = found["machine"]
    sections = []
    for table in tables(found):
        drawn = plots.of(table.title, found)
        shown = [pages.plot(drawn, table.title)] if drawn else []
        sections.append(
            Section(table.title, plots=shown, tables=[Table(table.headers, table.rows, note=table.note)])
        )
    gone = [f"{what}: {why}" for what, why in latency_table.refused(found)]
    if gone:
        sections.append(Section("Not measured", notes=gone))
    return pages.sections_page(
        f"Latency on {str(machine['cpu']).split(' (family')[0]}",
        found["command"],
        sections,
        facts=_facts(found),
        records=[("Latency", found)],
    )


def _facts(found: Record) -> list[tuple[str, str]]:
    """The quickest default decode of each bundle, on one thread."""
    facts = []
    for one in latency_table.figures(found):
        case = one.row["subject"]
        if case["kind"] == "model" and case["threads"] == 1 and one.decode:
            facts.append((f"ms, decode with {one.row['label']}", number(one.decode.median)))
    return facts[:6]


def _about(found: Record) -> str:
    machine = found["machine"]
    told = quiet.told(machine.get("quiet_before"), machine.get("quiet_after"))
    return (
        f"{images_told(found['config']['images'])}, from bytes in memory to uint8 RGB, interleaved rounds "
        f"of one run. In brackets: 95 % bootstrap interval of the ratio, rounds resampled. {told}"
    ).rstrip()
