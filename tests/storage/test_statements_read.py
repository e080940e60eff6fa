"""Every read statement, found by itself: compiled for both dialects, with its access clause, and by the right index."""

import functools
import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jobhall_server import storage
from jobhall_server.hall.views import ListOrder
from jobhall_server.storage import statements_read_jobs, statements_read_log, statements_read_sessions
from jobhall_server.storage.read_clauses import Sight
from jobhall_server.storage.schema import tables
from jobhall_server.storage.statements_read_lists import ListShape, Source
from jobhall_server.storage.statements_read_log import LogShape
from tests.support.plans import plan
from tests.support.rows import Rows, rows_in

TABLES = tables()
CONDITIONS = [name for name in ListShape._fields if name not in ("source", "order", "resting", "ready", "held")]
EVERYTHING: dict[str, Any] = dict.fromkeys(CONDITIONS, True) | {"labels": 2}
OF_STATES: dict[str, Any] = {"source": Source.STATES, "resting": True, "ready": True, "held": True}
DIALECTS = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}
CHOICES: dict[str, list[object]] = {
    "bool": [False, True],
    "Sight": list(Sight),
    "LogShape": [LogShape(), *(LogShape(**{name: True}) for name in LogShape._fields), LogShape(*5 * [True])],
    "ListShape": [
        *(ListShape(**{name: EVERYTHING[name]}) for name in CONDITIONS),
        *(ListShape(source, order) for source in Source for order in ListOrder if source is not Source.STATES),
        *(ListShape(**OF_STATES, order=order) for order in ListOrder),
        *(ListShape(source, **EVERYTHING) for source in Source if source is not Source.STATES),
        ListShape(**OF_STATES, **EVERYTHING),
    ],
}


def discovered() -> Iterator[Any]:
    """Each public function of each `statements_read*` module, with every choice of its parameters."""
    for path in sorted(Path(storage.__path__[0]).glob("statements_read*.py")):
        module = importlib.import_module(f"jobhall_server.storage.{path.stem}")
        for name, function in vars(module).items():
            if isinstance(function, functools._lru_cache_wrapper) and not name.startswith("_"):
                parameters = list(inspect.signature(function).parameters.values())[1:]
                for chosen in itertools.product(*(CHOICES[str(parameter.annotation)] for parameter in parameters)):
                    given = dict(zip([parameter.name for parameter in parameters], chosen, strict=True))
                    yield pytest.param(function, given, id=f"{name}-{'-'.join(map(str, given.values()))}")


Statement = Callable[..., sa.Select[Any]]
STATEMENTS = list(discovered())


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    with rows_in(tmp_path_factory.mktemp("rows")) as made:
        yield made


@pytest.mark.parametrize(("function", "given"), STATEMENTS)
def test_every_statement_compiles_for_both_dialects(function: Statement, given: dict[str, Any]) -> None:
    for dialect in DIALECTS.values():
        text = str(function(TABLES, **given).compile(dialect=dialect))

        assert text.startswith(("SELECT", "WITH RECURSIVE"))
        assert "{}" not in text


@pytest.mark.parametrize(("function", "given"), STATEMENTS)
def test_every_statement_is_taken_by_the_database(function: Statement, given: dict[str, Any], rows: Rows) -> None:
    assert plan(rows, function(TABLES, **given))


@pytest.mark.parametrize(("function", "given"), STATEMENTS)
def test_every_statement_is_named_and_told_in_one_sentence(function: Statement, given: dict[str, Any]) -> None:
    assert re.fullmatch(r"[^\n]+\.", function.__doc__ or "")


@pytest.mark.parametrize(
    ("function", "given"), [case for case in STATEMENTS if isinstance(case.values[1].get("sight"), Sight)]
)
def test_every_statement_that_reads_jobs_for_a_caller_has_the_access_clause(
    function: Statement, given: dict[str, Any]
) -> None:
    text = str(function(TABLES, **given).compile(dialect=sqlite.dialect(paramstyle="named")))

    assert (".owner = :caller_subject" in text) is (given["sight"] is not Sight.ALL)
    assert (".organization_id = :caller_organization" in text) is (given["sight"] is Sight.OWN_AND_ORGANIZATION)


def test_statements_without_a_sight_select_nothing_of_jobs_that_tells_of_them() -> None:
    # What sessions hold is read for those sessions, and whose events to read for the feed; not for a caller.
    of_the_server = (statements_read_sessions.held, statements_read_log.job_keys)
    blind = [case for case in STATEMENTS if "sight" not in case.values[1] and case.values[0] not in of_the_server]

    for case in blind:
        function, given = case.values
        shown = {c.name for c in function(TABLES, **given).selected_columns if getattr(c, "table", None) is TABLES.jobs}
        assert shown <= {
            "key",
            "held_by",
            "queue_key",
            "batch_key",
            "state",
            "ended_at",
            "terminal",
            "retention_us",
            "type_version",
        }


@pytest.mark.parametrize("full", [False, True])
def test_jobs_are_found_by_their_ids_and_everything_else_by_keys(rows: Rows, full: bool) -> None:
    for statement in (
        statements_read_jobs.job(TABLES, Sight.ALL, full=full),
        statements_read_jobs.jobs_by_id(TABLES, Sight.ALL, full=full),
    ):
        steps = plan(rows, statement)

        assert steps[0] == "SEARCH jobhall_jobs USING INDEX jobhall_jobs_job_id (job_id=?)"
        assert not [step for step in steps if step.startswith("SCAN jobhall_")]


@pytest.mark.parametrize("shape", CHOICES["LogShape"])
def test_events_are_read_onward_from_a_number_and_names_looked_up_of_those_that_are_answered(
    rows: Rows, shape: LogShape
) -> None:
    steps = plan(rows, statements_read_log.log_slice(TABLES, shape))

    assert "SEARCH jobhall_events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in steps
    assert not [step for step in steps if step.startswith("SCAN jobhall_events") or "B-TREE" in step]


def test_the_end_of_the_event_log_is_found_without_reading_it(rows: Rows) -> None:
    steps = plan(rows, statements_read_log.log_place(TABLES))

    assert "SEARCH jobhall_events" in steps


def test_the_reaper_looks_at_living_sessions_and_at_the_index_of_holders_only(rows: Rows) -> None:
    expired, stale, held, drained = (
        plan(rows, statement)
        for statement in (
            statements_read_sessions.expired_sessions(TABLES),
            statements_read_sessions.stale_sessions(TABLES),
            statements_read_sessions.held_by_lost_sessions(TABLES),
            statements_read_sessions.drained_sessions(TABLES),
        )
    )

    assert "SEARCH jobhall_sessions USING INDEX jobhall_sessions_living (state=?)" in expired
    assert "SCAN jobhall_sessions USING INDEX jobhall_sessions_living" in drained
    assert "SEARCH jobhall_sessions USING INDEX jobhall_sessions_living (state=?)" in stale
    assert "SEARCH jobhall_jobs USING COVERING INDEX jobhall_jobs_held_by (held_by=?)" in held
    steps = [step for step in (*expired, *stale, *held) if step != "SCAN jobhall_service"]
    assert not [step for step in steps if step.startswith(("SCAN jobhall_jobs", "SCAN jobhall_s"))]


def test_jobs_that_fall_due_are_found_by_their_time(rows: Rows) -> None:
    steps = plan(rows, statements_read_sessions.due_jobs(TABLES))

    assert "SEARCH jobhall_jobs USING INDEX jobhall_jobs_due (due_at<?)" in steps
    assert not [step for step in steps if step.startswith("SCAN jobhall_jobs") or "B-TREE" in step]


def test_what_sessions_hold_is_read_in_the_order_of_the_index_of_holders(rows: Rows) -> None:
    steps = plan(rows, statements_read_sessions.held(TABLES))

    assert steps[0] == "SEARCH jobhall_jobs USING INDEX jobhall_jobs_held_by (held_by=?)"
    assert not [step for step in steps if step.startswith("SCAN jobhall_") or "B-TREE" in step]
