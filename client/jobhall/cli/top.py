"""`jobhall top`: jobs, workers and counts at a glance, live on a terminal."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from jobhall.cli.board import Order
from jobhall.cli.board_drawing import Heading, draw
from jobhall.cli.board_feed import BoardFeed
from jobhall.cli.conditions import Conditions
from jobhall.cli.context import Injected
from jobhall.cli.documents import json_line
from jobhall.cli.exits import Exit
from jobhall.cli.lists import Limit, entries_max_of
from jobhall.cli.output import on_terminal


def top(
    *,
    conditions: Conditions | None = None,
    sort: Annotated[
        Order, Parameter(name=["--sort", "-o"], help="By state if not given: those that run first, then the oldest.")
    ] = "state",
    once: Annotated[bool, Parameter(help="Show it as it is now, and end; so it is in a pipe.")] = False,
    limit: Limit = None,
    context: Injected,
) -> Exit:
    """Shows jobs, workers and counts as they change: those that run first.

    Keys: s sorts by something else, q quits. On a terminal --limit says
    nothing: there are as many jobs as there is room for, and the last line says
    how many more have not ended. Piped, or with --once, it is one table; with
    --json one document: "figures", "jobs", "more" and "workers".

    For example:

      jobhall top
      jobhall top --type resize --sort progress
      jobhall top --batch 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
      jobhall top --json --limit 0 | jq '.jobs[] | select(.state == "RUNNING").id'
    """
    conditions, jobs_max = conditions or Conditions(), entries_max_of(limit) or sys.maxsize
    with context.connect() as client:
        heading = Heading(
            address=client.address, scope=_scope(conditions), everywhere=conditions.namespace == "-", order=sort
        )
        feed = BoardFeed(client, conditions.which())
        if not context.as_json and not once and on_terminal():
            from jobhall.cli.board_display import BoardDisplay

            feed.read()  # Who cannot be shown anything is told so in a line.
            with feed:
                BoardDisplay(feed, heading).run()
            return Exit.OK
        view = feed.read_once(sort, jobs_max=jobs_max)
    if context.as_json:
        print(json_line(view), flush=True)
        return Exit.OK
    console = Console(highlight=False)
    for line in draw(view, heading, width=console.width):
        console.print(line, soft_wrap=True)
    return Exit.OK


def _scope(conditions: Conditions) -> str:
    words = [f"-n {conditions.namespace}"] if conditions.namespace else []
    words += [f"--batch {conditions.batch}"] if conditions.batch else []
    words += [f"--type {name}" for name in conditions.job_type]
    words += [f"--owner {conditions.owner}"] if conditions.owner else []
    return " ".join([*words, *(f"--label {label}" for label in conditions.label)])
