"""Lines of telemetry into a file, with progress and in constant memory: as they come, or as Parquet.

Written beside its name and put there when it is whole, so that a broken export never looks like one.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from edgelift.output import say
from edgelift_contract.errors import ContractError, DeviceError, disk_code

#: Lines in a row group of Parquet.
GROUP = 5000
_TOLD_EVERY_S = 2.0


def write_export(lines: Iterable[bytes], out: Path, *, what: str, form: Literal["jsonl", "parquet"]) -> int:
    """Write JSON lines to `out`; returns how many.

    Raises:
        ContractError: `conflict` when the file is there already; what reading `lines` raises.
        DeviceError: `tool-missing` without the extra; `disk-full`, `read-only`, `disk-error`.
    """
    write = _write_parquet if form == "parquet" else _write_lines
    if form == "parquet":
        _pyarrow()
    if out.exists():
        raise ContractError("conflict", f"{out} is there already.", hint="Name a new file.")
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            number = write(_told(lines, what), file, what)
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except OSError as error:
        raise DeviceError(disk_code(error.errno), f"{out} can't be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    return number


def _told(lines: Iterable[bytes], what: str) -> Iterator[bytes]:
    """The lines, with a word about progress now and then, where a person watches."""
    last = time.monotonic()
    for number, line in enumerate(lines, 1):
        if sys.stderr.isatty() and time.monotonic() - last > _TOLD_EVERY_S:
            last = time.monotonic()
            say(f"{number} {what} so far", to_errors=True)
        yield line


def _write_lines(lines: Iterable[bytes], file: BinaryIO, _: str) -> int:
    number = 0
    for line in lines:
        file.write(line + b"\n")
        number += 1
    return number


def _write_parquet(lines: Iterable[bytes], file: BinaryIO, what: str) -> int:
    pyarrow, parquet = _pyarrow()
    schema = _schema(pyarrow, what)
    number = 0
    rest = iter(lines)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while some := list(islice(rest, GROUP)):
            rows = [_flat(json.loads(line), what) for line in some]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            number += len(rows)
    return number


def _flat(row: dict[str, Any], what: str) -> dict[str, Any]:
    """A line as a row of columns: maps as lists of pairs, what devices tell in their own words as JSON."""
    if what == "windows":
        phases = row.pop("latency_us")
        row["latency_us"] = [{"phase": phase, **_HISTOGRAM, **data} for phase, data in phases.items()]
    elif what == "gauges":
        row["values"] = [{"name": name, **value} for name, value in row["values"].items()]
    else:
        row["body"] = json.dumps(row["body"])
    return row


#: What the contract's histogram leaves out when it is so.
_HISTOGRAM = {"scale": 4, "offset": 0, "counts": [], "zeros": 0, "total": 0.0, "low": 0.0, "high": 0.0}


def _schema(pa: Any, what: str) -> Any:
    text, number, whole, flag = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    histogram = pa.struct([
        ("phase", text), ("scale", whole), ("offset", whole), ("counts", pa.list_(whole)), ("zeros", whole),
        ("total", number), ("low", number), ("high", number),
    ])  # fmt: skip
    gauge = pa.struct([("name", text), ("min", number), ("mean", number), ("max", number)])
    columns = {
        "windows": [
            *((n, text) for n in ("device", "slot", "model", "version", "artifact", "hardware_class")),
            ("throttled", flag), ("probation", flag), *((n, number) for n in ("start", "end", "received_at")),
            *((n, whole) for n in ("windows", "ok", "errors")), ("latency_us", pa.list_(histogram)),
        ],
        "gauges": [("device", text), ("start", number), ("end", number), ("values", pa.list_(gauge))],
    }  # fmt: skip
    notes = [("device", text), ("kind", text), ("received_at", number), ("body", text)]
    return pa.schema(columns.get(what, notes))


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise DeviceError(
            "tool-missing",
            "Parquet needs the package pyarrow, which is not installed here.",
            hint="Install edgelift with the extra [parquet], or export JSON lines: --format jsonl.",
        ) from error
