"""Output for a terminal: tables, colours and bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from jobhall.cli.bars import Bars, BatchBar
from jobhall.cli.phrases import age_text, harmless, log_text, outcome_text
from jobhall.cli.records import batch_rows, job_rows
from jobhall.cli.styles import STYLES, styled
from jobhall.cli.tables import ITEM_ERRORS, Cell, Column, Table, cell_text
from jobhall.cli.times import here
from jobhall.model import Job, LogEntry
from jobhall.model_batches import Batch

T = TypeVar("T")

_GAPS = (2, 1)
_NARROWEST = 6


class Screen:
    """Writes to standard output, as wide as the terminal is; NO_COLOR is rich's to respect."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def made(self, it: Job | Batch, *words: Cell) -> None:
        self._console.print(it.id, *(_shown(word, now=None) for word in words), soft_wrap=True)

    def job(self, job: Job) -> None:
        self.record(job, job_rows(job))
        if job.item_errors:
            self._console.print(f"item errors ({len(job.item_errors)} of {job.item_error_count})", style="italic")
            self.table(ITEM_ERRORS, job.item_errors)
        if job.error is not None and job.error.stack:
            self._console.print(Text(harmless(job.error.stack.rstrip()), style="dim"))

    def record(self, it: Any, rows: Iterable[tuple[str, str]]) -> None:  # noqa: ARG002 - they are of it
        grid = Grid.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in rows:
            grid.add_row(name, Text(harmless(value), style=STYLES.get(value, "") if name == "state" else ""))
        self._console.print(grid)

    def table(self, table: Table[T], entries: Iterable[T], *, whole: Any = None) -> None:
        now = datetime.now(UTC)
        rows = [
            [_shown(column.cell(entry), now=now, clock=column.clock) for column in table.columns] for entry in entries
        ]
        if not rows:
            self._console.print(f"no {table.noun}", style="dim")
            return
        shown = [index for index, column in enumerate(table.columns) if _worth(column, [row[index] for row in rows])]
        columns, rows = [table.columns[index] for index in shown], [[row[index] for index in shown] for row in rows]
        widths, gap = _layout(columns, rows, room=self._console.width)
        # Where that is wider than the terminal its lines go on below themselves: half an id is none.
        whole = sum(widths) + gap * (len(widths) - 1)
        grid = Grid(box=None, header_style="bold", pad_edge=False, collapse_padding=gap == 1, width=whole)
        for column, width in zip(columns, widths, strict=True):
            grid.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=not column.fold,
                overflow="fold" if column.fold else "ellipsis",
                width=width,
            )
        for row in rows:
            grid.add_row(*row)
        self._console.print(grid, crop=False)

    def said(self, it: Any, *words: Cell) -> None:  # noqa: ARG002 - the words are of it
        self._console.print(*(_shown(word, now=None) for word in words), soft_wrap=True)

    def log(self, entry: LogEntry) -> None:
        when = here(entry.written_at).strftime("%H:%M:%S.%f")[:-3] if entry.written_at else "--:--:--.---"
        level = Text(f"{entry.level.name:<8}", style=STYLES.get(entry.level.name, ""))
        self._console.print(Text(when, style="dim"), level, Text(harmless(log_text(entry))), soft_wrap=True)

    def batch(self, batch: Batch) -> None:
        self.record(batch, batch_rows(batch))
        BatchBar(self._console).draw(batch)

    def follow_batch(self) -> BatchBar:
        return BatchBar(self._console)

    def follow(self, *, named: bool) -> Bars:
        return Bars(self._console, named=named)

    def ended(self, job: Job) -> None:
        outcome = Text(harmless(outcome_text(job)), style="" if job.succeeded else "red")
        self._console.print(styled(job.state), job.id, outcome, soft_wrap=True)


def _shown(value: Cell, *, now: datetime | None, clock: bool = False) -> Text:
    if isinstance(value, IntEnum):
        return styled(value)
    if isinstance(value, datetime) and clock:
        return Text(here(value).strftime("%H:%M:%S"))
    if isinstance(value, datetime) and now is not None:
        return Text(age_text(now - value))
    return Text(" ".join(harmless(cell_text(value)).split()))


def _worth(column: Column[T], cells: list[Text]) -> bool:
    return not column.piped_only and len({cell.plain for cell in cells} - {"", "0"}) >= column.distinct_min


def _layout(columns: Sequence[Column[T]], rows: Sequence[Sequence[Text]], *, room: int) -> tuple[list[int], int]:
    """How wide each column is, and the gap between them, which is narrow where there is no room for a wide one.

    Numbers, ids and states are never cut; the texts share what is left of the line, the short ones first.
    """
    wanted = [
        max([*map(len, column.title.split("\n")), *(row[index].cell_len for row in rows)])
        for index, column in enumerate(columns)
    ]
    texts = sorted((index for index, column in enumerate(columns) if column.elastic), key=lambda index: wanted[index])
    fixed = sum(width for index, width in enumerate(wanted) if index not in texts)
    least = fixed + sum(min(wanted[index], _NARROWEST) for index in texts)
    gap = next((gap for gap in _GAPS if least + gap * (len(columns) - 1) <= room), _GAPS[-1])
    left = room - gap * (len(columns) - 1) - fixed
    widths = list(wanted)
    for place, index in enumerate(texts):
        widths[index] = min(wanted[index], max(left // (len(texts) - place), _NARROWEST))
        left -= widths[index]
    return widths, gap
