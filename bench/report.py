"""What the figures mean: aims, peers, yardsticks and medians; printed as JSON lines and one Markdown table."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median

import grpc

import jobhall
from bench.rows import ROWS, Row

YARDSTICKS = "yardsticks"


Rounds = Mapping[str, Sequence[Mapping[str, float]]]


def table(rounds: Rounds) -> str:
    """The medians against aims, peers and yardsticks, then the yardsticks themselves."""
    yardsticks = medians(rounds.get(YARDSTICKS, ()))
    lines = [
        "| what | measured | aim | aim reached | peers | yardstick | ratio to it |",
        "|---|---:|---:|---|---|---:|---:|",
    ]
    for row in ROWS:
        figures = medians(rounds.get(row.workload, ()))
        if row.figure in figures:
            lines.append(_line(row, figures[row.figure], (yardsticks | figures).get(row.yardstick)))
    lines += ["", "| yardstick of this machine | measured |", "|---|---:|"]
    lines += [f"| {name.replace('_', ' ')} | {_number(value)} |" for name, value in yardsticks.items()]
    return "\n".join(lines)


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: median(figures[name] for figures in rounds) for name in (rounds[0] if rounds else ())}


def machine() -> dict[str, str | int]:
    """What the figures were measured on and with."""
    try:
        uvloop = version("uvloop")
    except PackageNotFoundError:
        uvloop = "none"
    return {
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "grpcio": grpc.__version__,
        "uvloop": uvloop,
        "jobhall": jobhall.__version__,
    }


def profile_text(report: Mapping[str, object]) -> str:
    """The sampler's report for people: per thread its functions by their own time and with what they called."""
    threads = report["threads"]
    assert isinstance(threads, dict)
    lines = [f"{report['process_seconds']:.2f} s of CPU in all; the rest is in threads without Python (gRPC's)"]
    for name, thread in sorted(threads.items(), key=lambda item: -item[1]["seconds"]):
        total = thread["seconds"]
        lines.append(f"\nthread {name}: {total:.2f} s")
        for title, column in (("own", "own"), ("with what it called", "with_callees")):
            lines.append(f"  {title}:")
            lines += [f"    {s:6.3f} s {100 * s / total:5.1f} %  {label}" for label, s in thread[column] if s > 0]
    return "\n".join(lines)


def _line(row: Row, value: float, yardstick: float | None) -> str:
    reached = ""
    if row.aim is not None:
        good = value <= row.aim if row.less_is_better else value >= row.aim
        reached = "yes" if good else f"no, {100 * value / row.aim:.0f} % of it"
    cells = [
        row.title,
        _number(value),
        "" if row.aim is None else f"{'≤' if row.less_is_better else '≥'} {_number(row.aim)}",
        reached,
        row.peers,
        "" if yardstick is None else _number(yardstick),
        "" if yardstick is None else f"{value / yardstick:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")
