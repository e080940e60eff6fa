"""Draws the board as lines of text: as many as there is room for, none wider than the terminal, nothing that jumps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from jobhall.cli.board import Figures, Order, View
from jobhall.cli.board_jobs import JobRow
from jobhall.cli.phrases import age_text, harmless, tasks_text
from jobhall.cli.styles import STYLES
from jobhall.cli.times import here
from jobhall.model import Progress
from jobhall.states import TERMINAL_STATES, JobState
from jobhall.worker_info import WorkerInfo

_WHOLE_ID = 36
_WIDE = 140
"""From so many columns on ids are whole."""
_HEIGHT_WITH_WORKERS = 16
_HEIGHT_WITH_FOOTER = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What the lines around the tables say besides the figures."""

    address: str
    scope: str
    """Which jobs, as the command line named them."""
    everywhere: bool = False
    """Whether the jobs may be of several namespaces."""
    order: Order = "state"
    keys: bool = False
    """Whether somebody can press one."""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    title: str
    cell: Callable[[JobRow, int], Text]
    """Of a row, in that many cells at most."""
    width: int
    share: float = 0.0
    """Of the room that is left."""
    right: bool = False
    dropped: int = 0
    """Where there is no room for all, the one with the highest number goes first."""


def draw(view: View, heading: Heading, *, width: int, height: int | None = None) -> list[Text]:
    """The lines of the board; without a height as many as there are rows."""
    top = [_title(view, heading, width), *(_fit(line, width) for line in _figures(view))]
    if heading.trouble:
        top.append(_fit(Text(_plain(heading.trouble), style="bold red"), width))
    bottom = _workers(view.workers, width, rows_max=len(view.workers) if height is None else height // 6)
    if height is None:
        foot = _foot(view, heading, width, shown=len(view.jobs))
        return [*top, *_jobs(view.jobs, heading, width), *foot, *bottom]
    bottom = bottom if height >= _HEIGHT_WITH_WORKERS else []
    room = max(height - len(top) - len(bottom) - 1, 0)
    if height >= _HEIGHT_WITH_FOOTER and (foot := _foot(view, heading, width, shown=room - 1)):
        bottom, room = [*bottom, *foot], room - 1
    rows = _jobs(view.jobs[:room], heading, width)
    blank = [Text("")] * (room + 1 - len(rows))
    return [*top, *rows, *blank, *bottom][:height]


def _title(view: View, heading: Heading, width: int) -> Text:
    clock = here(view.at).strftime("%H:%M:%S")
    left = " ".join(filter(None, ("jobhall", heading.address, heading.scope)))
    room = width - len(clock) - 1
    if room < 1:
        return _fit(Text(_plain(left), style="bold"), width)
    return Text.assemble((_sized(left, room), "bold"), " ", clock)


def _figures(view: View) -> list[Text]:
    figures, counts = view.figures, view.figures.counts
    running = counts.claimed + counts.running + counts.cancelling
    waiting = f"{counts.pending + counts.scheduled:,} waiting"
    if figures.oldest_pending_age is not None:
        waiting += f" (the oldest {age_text(figures.oldest_pending_age)})"
    first = [f"{running:,} running", waiting, f"{counts.completed:,} completed", f"{counts.failed:,} failed"]
    if counts.cancelled:
        first.append(f"{counts.cancelled:,} cancelled")
    return [Text(", ".join(first)), Text(", ".join([*_rates(figures), _crew(view.workers)]))]


def _rates(figures: Figures) -> list[str]:
    rates = []
    if figures.completed_per_second is not None:
        rates.append(f"{figures.completed_per_second:,.1f} completed/s")
    if figures.failed_per_second is not None:
        rates.append(f"{figures.failed_per_second * 60:,.1f} failed/min")
    return [*rates, "whatever the label"] if figures.wider else rates


def _crew(workers: Sequence[WorkerInfo]) -> str:
    held, capacity = sum(it.held_count for it in workers), sum(it.capacity for it in workers)
    noun = "worker" if len(workers) == 1 else "workers"
    return f"{len(workers)} {noun} with {held:,} of {capacity:,} tasks"


def _jobs(rows: Sequence[JobRow], heading: Heading, width: int) -> list[Text]:
    columns, widths = _layout(width)
    titles = [_cell(Text(it.title), size, right=it.right) for it, size in zip(columns, widths, strict=True)]
    lines = [Text(" ").join(titles)]
    lines[0].stylize("bold")
    for row in rows:
        row = replace(row, job_type=f"{row.namespace}/{row.job_type}") if heading.everywhere else row
        cells = [_cell(it.cell(row, size), size, right=it.right) for it, size in zip(columns, widths, strict=True)]
        lines.append(Text(" ").join(cells))
        if row.state in TERMINAL_STATES:
            lines[-1].stylize("dim")
    return [_fit(line, width) for line in lines]


def _layout(width: int) -> tuple[list[_Column], list[int]]:
    """The columns that there is room for; widths depend on the terminal alone, so that no row makes the others jump."""
    columns = list(_COLUMNS)
    while len(columns) > 1 and sum(it.width + 1 for it in columns) - 1 > width:
        columns.remove(max(columns, key=lambda it: it.dropped))
    widths = [it.width for it in columns]
    if width >= _WIDE:
        widths[0] = _WHOLE_ID
    left = width - sum(widths) - len(widths) + 1
    shares = sum(it.share for it in columns) or 1.0
    return columns, [
        size + (int(left * it.share / shares) if left > 0 else 0) for it, size in zip(columns, widths, strict=True)
    ]


def _workers(workers: Sequence[WorkerInfo], width: int, *, rows_max: int) -> list[Text]:
    if not workers:
        return []
    shown = workers if len(workers) <= rows_max else workers[: max(rows_max - 1, 0)]
    name = max(min(width // 3, 36), 6)
    lines = [Text(_sized("worker", name) + " state      tasks types", style="bold")]
    for it in shown:
        state = Text(f" {_sized(it.state.name, 8)}", style=STYLES.get(it.state.name, ""))
        tasks = _cell(Text(tasks_text(it)), 8, right=True)
        lines.append(Text.assemble(_sized(it.name, name), state, tasks, " ", _plain(" ".join(it.job_types))))
    if len(shown) < len(workers):
        lines.append(Text(f"and {len(workers) - len(shown)} more", style="dim"))
    return [_fit(line, width) for line in lines]


def _foot(view: View, heading: Heading, width: int, *, shown: int) -> list[Text]:
    more = view.more + sum(row.state not in TERMINAL_STATES for row in view.jobs[shown:])
    words = [f"and {more:,} more"] if more > 0 else []
    if heading.keys:
        words += [f"s: sorted by {heading.order}", "q: quit"]
    return [_fit(Text("   ".join(words), style="dim"), width)] if words else []


def _id(row: JobRow, width: int) -> Text:
    # Of a UUIDv7 the end is what differs.
    return Text(row.id if width >= len(row.id) else f"…{row.id[1 - width :]}")


def _state(row: JobRow, _width: int) -> Text:
    return Text(row.state.name, style=STYLES.get(row.state.name, ""))


def _progress(row: JobRow, width: int) -> Text:
    """`━━━━────  45% 450/1000 rows`, as far as it is known and there is room; of a failed job how it failed."""
    progress = row.progress
    if row.state in TERMINAL_STATES or not row.state.held:
        return Text(_plain(row.failure), style="red" if row.state is JobState.FAILED else "")
    if progress.percent is None:
        return Text(_words(progress, width))
    bar = max(min(width - 5, 12), 1)
    done = round(bar * min(max(progress.percent, 0.0), 100.0) / 100)
    text = Text.assemble(("━" * done, "cyan"), ("─" * (bar - done), "dim"), f"{progress.percent:4.0f}%")
    words = _words(progress, width - bar - 6)
    return text.append(f" {words}") if words and width > bar + 10 else text


def _words(progress: Progress, width: int) -> str:
    """Half a number is none: without its unit, or not said, where there is no room for it."""
    items = f"{progress.items_processed:,}"
    if progress.items_total is not None:
        items += f"/{progress.items_total:,}"
    elif not progress.items_processed:
        return _plain(progress.step or progress.message)
    said = (_plain(f"{items} {progress.unit}"), items)
    return next((words for words in said if cell_len(words) <= width), "")


def _pace(row: JobRow, _width: int) -> Text:
    pace = row.items_per_second
    return Text("" if pace is None else f"{pace:.1f}/s" if pace < 100 else f"{_short(pace)}/s")


def _remaining(row: JobRow, _width: int) -> Text:
    return Text(_span(row.remaining))


def _age(row: JobRow, _width: int) -> Text:
    return Text(_span(row.age))


def _span(span: timedelta | None) -> str:
    return "" if span is None else age_text(span)


def _short(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):.0f}{unit}"
    return f"{number:.0f}"


_COLUMNS = (
    _Column(title="job", cell=_id, width=9),
    _Column(title="type", cell=lambda row, _: Text(_plain(row.job_type)), width=6, share=0.3, dropped=2),
    _Column(title="state", cell=_state, width=10, dropped=1),
    _Column(title="progress", cell=_progress, width=10, share=0.45, dropped=3),
    _Column(title="pace", cell=_pace, width=7, right=True, dropped=7),
    _Column(title="left", cell=_remaining, width=6, right=True, dropped=4),
    _Column(title="worker", cell=lambda row, _: Text(_plain(row.worker_name)), width=6, share=0.25, dropped=6),
    _Column(title="age", cell=_age, width=6, right=True, dropped=5),
)


def _cell(text: Text, width: int, *, right: bool = False) -> Text:
    text = _fit(text, width)
    missing = width - text.cell_len
    if right:
        text.pad_left(missing)
    else:
        text.pad_right(missing)
    return text


def _fit(text: Text, width: int) -> Text:
    """Cut, with a sign of it, where it is wider."""
    text.truncate(max(width, 0), overflow="ellipsis")
    return text


def _sized(text: str, width: int) -> str:
    text = _plain(text)
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _plain(text: str) -> str:
    return " ".join(harmless(text).split())
