"""Latency as MLPerf Inference measures it: LoadGen's single stream, one picture at a time (extra: bench).

LoadGen (github.com/mlcommons/inference, loadgen) chooses the pictures, sends the next one when the last is
there, and judges the 90th percentile. Its own log stays in a folder; the times here are those it hands back.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decant_bench.common.cases import Decode
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, number
from decant_bench.errors import BenchError

LEAST_QUERIES = 100


def measure(
    label: str, decode: Decode, datas: Sequence[bytes], seconds: float = 10.0, expected_ms: float = 5.0
) -> Record:
    """A block of a latency record. Runs in this process. Raises BenchError without mlcommons-loadgen."""
    loadgen = _loadgen()
    failures: list[BaseException] = []

    def issue(queries: Any) -> None:
        for query in queries:
            try:
                decode(datas[query.index])
            except Exception as error:
                failures.append(error)
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.single_stream_expected_latency_ns = int(1e6 * expected_ms)
    settings.min_query_count = LEAST_QUERIES
    settings.min_duration_ms = int(1000 * seconds)
    with tempfile.TemporaryDirectory(prefix="decant-loadgen-") as place:
        output = loadgen.LogOutputSettings()
        output.outdir = place
        output.copy_summary_to_stdout = False
        logs = loadgen.LogSettings()
        logs.log_output = output
        logs.enable_trace = False
        system = loadgen.ConstructSUT(issue, lambda: None)
        library = loadgen.ConstructQSL(len(datas), len(datas), lambda samples: None, lambda samples: None)
        try:
            loadgen.StartTestWithLogSettings(system, library, settings, logs)
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(system)
        if failures:
            raise BenchError(f"{label}: a decode failed under LoadGen: {failures[0]}")
        summary = (Path(place) / "mlperf_log_summary.txt").read_text(encoding="utf-8")
    return {"label": label, "summary": parsed(summary)}


def parsed(summary: str) -> dict[str, Any]:
    """LoadGen's summary as plain data: ``result`` (VALID or INVALID), and its nanoseconds by name."""
    found: dict[str, Any] = {}
    for line in summary.splitlines():
        name, separator, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if separator and name == "Result is":
            found["result"] = value
        elif separator and "latency (ns)" in name and value.isdigit():
            found[name.replace(" latency (ns)", "").strip()] = int(value)
    return found


def table(blocks: Sequence[Record]) -> Table:
    """A row a decoder."""
    names = ("50.00 percentile", "90.00 percentile", "95.00 percentile", "99.00 percentile")
    rows = [
        [
            block["label"],
            block["summary"].get("result", "-"),
            *(_ms(block["summary"].get(name)) for name in names),
        ]
        for block in blocks
    ]
    note = (
        "MLPerf LoadGen's single stream, in the benchmark's process, one thread. INVALID: too short for "
        "LoadGen's rule of early stopping. Not a submission."
    )
    return Table(("ms", "LoadGen says", "median", "p90", "p95", "p99"), rows, "MLPerf single stream", note)


def _ms(nanoseconds: int | None) -> str:
    return number(None if nanoseconds is None else nanoseconds / 1e6)


def _loadgen() -> Any:
    try:
        import mlperf_loadgen
    except ImportError:
        raise BenchError(
            "--loadgen needs MLPerf LoadGen, which is not installed: pip install mlcommons-loadgen"
        ) from None
    return mlperf_loadgen
