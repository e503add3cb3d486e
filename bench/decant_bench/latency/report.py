"""A latency record as files: JSON, Markdown for an issue tracker, and one HTML page."""

from pathlib import Path

from decant.formats.paths import takes_paths

from decant_bench.common import pages, quiet, record, stats
from decant_bench.common.pages import Section
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, images_told, number, plainly, ratio
from decant_bench.latency import breakdown, equal, loadgen, plots, sustained, throughput
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
    if found.get("thread_sweep"):
        shown.append(threads_table(found))
    if found.get("stages"):
        shown.append(breakdown.table(found["stages"]))
    if found.get("equal"):
        shown += [equal.table(found["equal"], target) for target in equal.TITLES]
    if found.get("throughput"):
        shown.append(throughput.table(found["throughput"]))
    if found.get("loadgen"):
        shown.append(loadgen.table(found["loadgen"]))
    if found.get("sustained"):
        shown.append(sustained.table(found["sustained"]))
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
            row = cells.get((label, side))
            if row is None:
                shown += ["-", "-"]
                continue
            ms = stats.summarise(stats.flatten(row["decode_ns"])).median / 1e6
            shown += [number(ms), number(1e3 * row["megapixels"] / ms)]
        rows.append(shown)
    heads = [head for side in sides for head in (f"{side}x{side},\nms", "MP/s")]
    note = (
        "Steady decodes on one thread, medians of interleaved rounds. Pictures are photographs, mirrored "
        "until they fill the square."
    )
    return Table(("decoder", *heads), rows, "Picture sizes", note)


def threads_table(found: Record) -> Table:
    """Median milliseconds by number of threads, and how many times quicker than one."""
    counts = sorted({row["threads"] for row in found["thread_sweep"]})
    cells = {
        (row["label"], row["threads"]): stats.summarise(stats.flatten(row["decode_ns"])).median / 1e6
        for row in found["thread_sweep"]
    }
    rows = []
    for label in dict.fromkeys(label for label, _ in cells):
        times = [cells.get((label, count)) for count in counts]
        gains = [None if ms is None or times[0] is None else times[0] / ms for ms in times[1:]]
        rows.append([label, *map(number, times), *(ratio(gain) for gain in gains)])
    heads = [f"{count} thread{'s' * (count > 1)},\nms" for count in counts]
    heads += [f"gain of\n{count} threads" for count in counts[1:]]
    pixels = found["thread_sweep"][0]["side"]
    note = f"Steady decodes of {pixels}x{pixels} pixels, medians of interleaved rounds."
    return Table(("decoder", *heads), rows, "Threads", note)


def left_out(found: Record) -> list[str]:
    """What a reader might look for and does not find, and why."""
    missing: list[str] = found.get("left_out", [])
    return [f"{what}: {why}" for what, why in latency_table.refused(found)] + missing


def as_markdown(found: Record) -> str:
    """The tables, then command, machine and versions."""
    machine = found["machine"]
    parts = [f"# Load and decode latency on {machine['cpu']}"]
    for table in tables(found):
        parts += [f"## {table.title}", table.markdown()]
    if gone := left_out(found):
        parts += ["## Not measured", "\n".join(f"* {line}" for line in gone)]
    flags = ", ".join(machine["flags"]) or "none of those known"
    parts += [
        "## Made by",
        f"```sh\n{found['command']}\n```",
        f"{found['created']}, {machine['cpu']}, {machine['cores_usable']} cores, governor "
        f"{machine['governor'] or 'unknown'}. Instruction sets: {flags}. "
        f"Power: {plainly(machine.get('power') or {})}.",
        ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version),
    ]
    return "\n\n".join(parts) + "\n"


def as_html(found: Record) -> str:
    """One page that fetches nothing."""
    machine = found["machine"]
    sections = []
    for table in tables(found):
        shown = [pages.plot(drawn, label) for label, drawn in plots.of(table.title, found)]
        sections.append(
            Section(table.title, plots=shown, tables=[Table(table.headers, table.rows, note=table.note)])
        )
    if gone := left_out(found):
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
        f"of one run, every decoder in processes of its own. In brackets: the 95 % interval of the ratio, "
        f"within which a second run on this machine agrees. {told}"
    ).rstrip()
