"""Writes docs/states.md from the table of moves; with `--check` proves the committed page fresh."""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from jobhall import states
from jobhall.states import JobState
from jobhall_server.domain.moves import DELETABLE, MOVES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "states.md"
STATES = tuple(state for state in JobState if state)

HEAD = """\
# The states of a job

<!-- Generated from `MOVES` in server/jobhall_server/domain/moves.py by `python scripts/states.py`; do not edit. -->

Every change of a job's state is one of the moves drawn here: what is not in the table is refused. A move that a worker
reports counts only under the lease token of the job's newest claim. `complete` from a waiting state is the late answer
of a worker whose session was lost; it is taken as long as nobody else has claimed the job.

Every state but PENDING has an end of its own: a SCHEDULED job falls due, a CLAIMED one must be accepted, a RUNNING one
lasts while its session lives and lists it (or to its timeouts), a CANCELLING one has its grace. A PENDING job waits for
a worker, for as long as that takes or until its start_deadline.
"""

MEANINGS = {
    "claim": "the dispatcher leases the job to a worker's session",
    "accept": "the worker started it: it says so, or an update or log of the task implies it",
    "return": "the delivery was not accepted in time, or the worker's beat does not list it; at no cost",
    "release": (
        "the worker gives it back unfinished, or confirms a cancel; the attempt is not counted; it may ask for a "
        "delay, and from the third release on the job backs off by itself"
    ),
    "complete": "the worker finished it",
    "fail": (
        "the worker's handler failed: tried again after a delay, by the job's retry policy or the worker's word, "
        "until no attempt is left"
    ),
    "lose": "its session is lost, or the worker lost the task",
    "take back": "a worker that comes back lists it among what it holds, and nobody else has claimed it; same attempt",
    "time out": "the attempt ran for longer than run_timeout, or was silent for longer than progress_timeout",
    "fall due": "its schedule_time has come, or its back-off or delay is over",
    "expire": "its start_deadline passed before any worker had begun it",
    "update": "a caller gave it another schedule_time",
    "cancel": "a caller wants it stopped",
    "stop": "the grace of a cancelled task is over",
    "retry": "a caller wants it run again: attempts and losses start from zero, the fence goes on",
}


def main() -> int:
    """Runs `generate` or `--check`; the exit code tells whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "command", nargs="?", choices=["generate"], default="generate", help="write the page: the default"
    )
    parser.add_argument("--check", action="store_true", help="compare the committed page instead")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print("docs/states.md does not match the table of moves: run `python scripts/states.py`", file=sys.stderr)
    return 1


def page() -> str:
    """The whole page, as it stands in docs/."""
    return "\n".join((HEAD, *_diagram(), "", *_states(), "", *_moves(), ""))


def who_moves_on() -> dict[JobState, str]:
    """What stands under each member of JobState: its meaning, and who moves the job on from there."""
    (members,) = (node for node in ast.walk(ast.parse(inspect.getsource(states))) if _is_job_state(node))
    assert isinstance(members, ast.ClassDef)
    said: dict[JobState, str] = {}
    for node, after in zip(members.body, members.body[1:], strict=False):
        match node, after:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                said[JobState[name]] = " ".join(text.split())
    return said


def _is_job_state(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == "JobState"


def _diagram() -> Iterator[str]:
    arrows: dict[tuple[JobState, JobState], list[str]] = {}
    for move, ways in MOVES.items():
        for source, targets in ways.items():
            for target in sorted(targets):
                arrows.setdefault((source, target), []).append(move)
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> PENDING: submit"
    yield "    [*] --> SCHEDULED: submit for later"
    for (source, target), moves in sorted(arrows.items()):
        yield f"    {source.name} --> {target.name}: {', '.join(moves)}"
    for state in STATES:
        if state in DELETABLE:
            yield f"    {state.name} --> [*]: delete"
    yield "```"


def _states() -> Iterator[str]:
    said = who_moves_on()
    yield "## Who moves it on"
    yield ""
    yield "| state | what it means, and who moves the job on |"
    yield "|---|---|"
    for state in STATES:
        yield f"| {state.name} | {said[state]} |"


def _moves() -> Iterator[str]:
    yield "## The moves"
    yield ""
    yield "| move | when | from → to |"
    yield "|---|---|---|"
    for move, ways in MOVES.items():
        arrows = [
            f"{source.name} → {' or '.join(target.name for target in sorted(targets))}"
            for source, targets in sorted(ways.items())
        ]
        yield f"| {move} | {MEANINGS[move]} | {'; '.join(arrows)} |"


if __name__ == "__main__":
    sys.exit(main())
