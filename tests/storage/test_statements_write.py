"""Every writing statement, found by itself: compiled for both dialects, and by the index that it is meant to use."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from itertools import chain, combinations, product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg

from jobhall.states import FailureKind, JobState
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobRecord, Lease, LeaseState
from jobhall_server.domain.rules import Rules
from jobhall_server.storage import statements_attempts, statements_claim, statements_jobs, statements_write
from jobhall_server.storage.dialect import ROWS_MAX, Prepared, prepared
from jobhall_server.storage.schema_groups import LAST_EVENT, LAST_JOB
from jobhall_server.storage.statements_jobs import ChangeShape
from jobhall_server.storage.statements_stats import COUNTED
from tests.support.groups import TABLES, Groups, groups_in_memory

DIALECTS: list[sa.Dialect] = [sqlite.dialect(paramstyle="qmark"), psycopg.dialect()]  # type: ignore[no-untyped-call]
MODULES = (
    "statements_attempts",
    "statements_backup",
    "statements_batches",
    "statements_claim",
    "statements_cut",
    "statements_jobs",
    "statements_names",
    "statements_sessions",
    "statements_stats",
    "statements_write",
)


def record(
    state: JobState,
    lease: LeaseState = LeaseState.OPEN,
    *,
    attempt: int = 1,
    due_at: int | None = None,
    rules: str | None = None,
    start_deadline: int | None = None,
) -> JobRecord:
    fixed = (1, state, 1, 1, 1, 1, lease, 1, attempt, 2, 1, 0, 0, 0, 3)
    return JobRecord(*fixed, due_at=due_at, started_at=1, rules=rules, start_deadline=start_deadline)


def changes() -> Iterator[Change]:
    """Every Change that a move can answer, but for the words of constants."""
    timeouts = Rules(run_timeout_us=5, progress_timeout_us=5).text()
    for state, lease, due_at, rules in product(list(JobState)[1:], LeaseState, (None, 1), (None, timeouts)):
        jobs = [
            record(state, lease, due_at=due_at, rules=rules),
            record(state, lease, attempt=0, due_at=1, start_deadline=1),
        ]
        for decision in chain.from_iterable(map(decisions, jobs)):
            change = decision[0] if isinstance(decision, tuple) else decision
            if isinstance(change, Change):
                yield change


def decisions(job: JobRecord) -> Iterator[object]:
    """What every move says to the job."""
    lease = Lease(1, 1, 1)
    when: dict[str, Any] = {"now": 10, "chance": 0.0}
    yield moves.cancel(job, reason="r", by="b", stop_at=20)
    yield moves.retry(job)
    for count, schedule_at in product(range(1, len(moves.UPDATABLE) + 1), (5, 50)):
        for names in combinations(sorted(moves.UPDATABLE), count):
            yield moves.update(job, moves.JobUpdate(frozenset(names), schedule_at=schedule_at, start_deadline=60), 10)
    yield worker_moves.accept(job, lease, 10)
    yield worker_moves.note_item_errors(job, 5)
    yield worker_moves.note_checkpoint(job, 5)
    for digest in (worker_moves.NO_RESULT_DIGEST, 5):
        yield worker_moves.complete(job, lease, digest)
    for retryable, delay_us in product((False, True), (0, 5)):
        told: dict[str, Any] = {
            "kind": FailureKind.APPLICATION,
            "code": "E",
            "retryable": retryable,
            "delay_us": delay_us,
        }
        yield worker_moves.fail(job, lease, 5, **told, **when)
        yield worker_moves.release(job, lease, 5, delay_us=delay_us, not_mine=retryable, **when)
    yield server_moves.return_undelivered(job, lease)
    for yes in (False, True):
        yield server_moves.lose(job, confirmed=yes)
        resumed = server_moves.resume(job, lease, session_key=2, started=yes, now=10)
        yield resumed.change, resumed.values
    yield server_moves.fall_due(job, 10, 0.0)


SHAPES = sorted({ChangeShape.of(change) for change in changes()}, key=str)


def statements() -> Iterator[Any]:
    for module_name in MODULES:
        module = importlib.import_module(f"jobhall_server.storage.{module_name}")
        for name, function in vars(module).items():
            if not isinstance(function, functools._lru_cache_wrapper) or function.__module__ != module.__name__:
                continue
            for number, arguments in enumerate(choices(function)):
                yield pytest.param(function(*arguments), id=f"{name}-{number}")


def choices(function: Any) -> list[tuple[Any, ...]]:
    """What a statement's function is called with: the tables, and every choice of the rest."""
    names = tuple(inspect.signature(function).parameters)
    known: dict[tuple[str, ...], list[tuple[Any, ...]]] = {
        ("tables",): [(TABLES,)],
        ("table", "names"): [(TABLES.sessions, ("state", "drain_at", "labels"))],
        ("tables", "shape"): [(TABLES, shape) for shape in SHAPES],
        ("tables", "change"): [],
        ("tables", "names"): [(TABLES, (LAST_EVENT, LAST_JOB)), (TABLES, COUNTED)],
        ("table",): [(table,) for table in TABLES.of_one_job],
        ("table", "constant", "varying"): [
            (TABLES.results, (), ("job_key", "text", "content_type")),
            (TABLES.item_errors, ("code",), ("job_key", "fence", "number", "message")),
        ],
    }
    return known[names]


STATEMENTS = list(statements())


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_statement_is_for_both_databases(statement: sa.ClauseElement, dialect: sa.Dialect) -> None:
    text = str(statement.compile(dialect=dialect))

    assert "jobhall_" in text
    assert ("json_each" in text or "VALUES" in text) <= (dialect.name == "sqlite")


@pytest.mark.parametrize("statement", STATEMENTS)
def test_sqlite_takes_every_statement(statement: sa.ClauseElement, groups: Groups) -> None:
    made = prepared(statement)
    values = dict.fromkeys(made._names, 1) | {name: "[]" for name in ("keys", "ids_at") if name in made._names}

    assert plan_of(groups, *made.with_rows([(1,) * width(made)], values))


PLANS = {
    "candidates": (statements_claim.candidates(TABLES), {"SEARCH jobhall_jobs USING INDEX jobhall_jobs_ready"}),
    "load": (statements_jobs.jobs_by_key(TABLES), {"SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"}),
    "load by id": (statements_jobs.jobs_by_id(TABLES), {"SEARCH jobhall_jobs USING INDEX jobhall_jobs_job_id"}),
    "lease": (statements_claim.lease_jobs(TABLES), {"SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"}),
    "candidates after": (
        statements_claim.candidates_after(TABLES),
        {"SEARCH jobhall_jobs USING INDEX jobhall_jobs_ready"},
    ),
    "candidates named": (
        statements_claim.candidates_named(TABLES),
        {"SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"},
    ),
    "exclusions": (statements_claim.exclusions(TABLES), {"SEARCH jobhall_exclusions USING PRIMARY KEY"}),
    "held": (statements_jobs.held_jobs(TABLES), {"SEARCH jobhall_jobs USING INDEX jobhall_jobs_held_by"}),
    "lost": (
        statements_claim.holders_of_lost(TABLES),
        {"SEARCH jobhall_jobs USING COVERING INDEX jobhall_jobs_held_by"},
    ),
    "accept": (
        statements_jobs.move_jobs(TABLES, ChangeShape.of(worker_moves.ACCEPT)),
        {"SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"},
    ),
    "events": (statements_jobs.log_events(TABLES), {"SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"}),
    "submitted": (statements_write.log_submitted(TABLES), {"SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"}),
    "updated": (statements_jobs.log_updated(TABLES), {"SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"}),
    "attempts": (statements_attempts.close_attempts(TABLES), {"SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"}),
    "attempts that go on": (
        statements_attempts.forget_attempts(TABLES),
        {"SEARCH jobhall_attempts USING PRIMARY KEY"},
    ),
    "unique key": (
        statements_jobs.job_of_unique_key(TABLES),
        {"SEARCH jobhall_unique_keys USING PRIMARY KEY", "SEARCH jobhall_jobs USING INTEGER PRIMARY KEY"},
    ),
    "parameters": (statements_claim.parameters(TABLES), {"SEARCH jobhall_parameters USING INTEGER PRIMARY KEY"}),
}


@pytest.mark.parametrize("name", PLANS)
def test_the_hot_statements_find_their_rows_by_an_index_and_sort_nothing(name: str, groups: Groups) -> None:
    statement, wanted = PLANS[name]
    made = prepared(statement)
    values = dict.fromkeys(made._names, 1) | {"keys": "[1]", "ids_at": "[1]"}

    plan = plan_of(groups, *made.with_rows([(1,) * width(made)], values))

    assert wanted <= {step.split(" (")[0] for step in plan}
    assert not [step for step in plan if "SCAN jobhall" in step or "TEMP B-TREE" in step], plan


def test_a_move_with_values_of_its_own_finds_each_row_by_its_key(groups: Groups) -> None:
    change, _ = worker_moves.complete(record(JobState.RUNNING), Lease(1, 1, 1), 5)
    assert isinstance(change, Change)
    made = prepared(statements_jobs.move_jobs(TABLES, ChangeShape.of(change)))
    text, bound = made.with_rows([(1, 5)] * 3, dict.fromkeys(made._names, 1))

    plan = plan_of(groups, text, bound)

    assert any(step.startswith("SEARCH jobhall_jobs USING INTEGER PRIMARY KEY") for step in plan)
    assert not [step for step in plan if "SCAN jobhall" in step]


def test_an_accept_writes_the_row_and_no_index(groups: Groups) -> None:
    """A partial index that names `state`, or one over a column that the accept sets, would be rewritten each time."""
    made = prepared(statements_jobs.move_jobs(TABLES, ChangeShape.of(worker_moves.ACCEPT)))

    values = dict.fromkeys(made._names, 1) | {"keys": "[1]"}
    code = groups.connection.execute(f"EXPLAIN {made.text}", made.values(values)).fetchall()

    assert [step[1] for step in code].count("IdxInsert") <= 1, "only the set of keys is one"
    assert not [step for step in code if step[1] == "IdxDelete"]


def test_rows_of_values_are_made_ready_for_few_lengths_and_filled_up() -> None:
    made: Prepared = prepared(statements_write.insert(TABLES.results, ("content_type",), ("job_key", "text")))

    texts = {
        made.with_rows([(number, "x") for number in range(count)], {"all_content_type": "t"})[0]
        for count in range(1, ROWS_MAX + 1)
    }

    assert len(texts) == 10
    text, bound = made.with_rows([(1, "a"), (2, "b"), (3, "c")], {"all_content_type": "t"})
    assert bound == ["t", 1, "a", 2, "b", 3, "c", None, None]
    assert text.count("?") == len(bound)


def width(made: Prepared) -> int:
    """Of the rows that travel with the statement; 0 where there are none."""
    return max(map(int, re.findall(r"\bcolumn(\d+)", made.text)), default=0)


def plan_of(groups: Groups, text: str, bound: list[Any]) -> list[str]:
    return [step[3] for step in groups.connection.execute(f"EXPLAIN QUERY PLAN {text}", bound)]


@pytest.fixture(scope="module")
def groups() -> Iterator[Groups]:
    with groups_in_memory() as made:
        yield made
