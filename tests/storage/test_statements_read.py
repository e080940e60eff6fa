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
from jobhall_server.storage import statements_read, statements_read_jobs, statements_read_sessions
from jobhall_server.storage.dialect import prepared
from jobhall_server.storage.read_clauses import Sight
from jobhall_server.storage.schema import tables
from jobhall_server.storage.statements_read_jobs import ListShape
from tests.support.rows import Rows, rows_in

TABLES = tables()
EVERYTHING = ListShape(*(True,) * 5, 2, *(True,) * 5)
ALONE = range(len(ListShape._fields))
DIALECTS = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}
CHOICES: dict[str, list[object]] = {
    "bool": [False, True],
    "Sight": list(Sight),
    "ListShape": [
        ListShape(),
        EVERYTHING,
        *(ListShape._make(name == one for name in ListShape._fields) for one in ListShape._fields),
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
    assert _plan(rows, function(TABLES, **given))


@pytest.mark.parametrize(("function", "given"), STATEMENTS)
def test_every_statement_is_named_and_told_in_one_sentence(function: Statement, given: dict[str, Any]) -> None:
    assert re.fullmatch(r"[^\n]+\.", function.__doc__ or "")


@pytest.mark.parametrize(
    ("function", "given"), [case for case in STATEMENTS if isinstance(case.values[1].get("sight"), Sight)]
)
def test_every_statement_that_reads_jobs_for_a_caller_has_the_access_clause(
    function: Statement, given: dict[str, Any]
) -> None:
    text = str(function(TABLES, **given).compile(dialect=DIALECTS["sqlite"]))

    assert ("jobhall_jobs.owner = ?" in text) is (given["sight"] is not Sight.ALL)
    assert ("jobhall_jobs.organization_id = ?" in text) is (given["sight"] is Sight.OWN_AND_ORGANIZATION)


def test_only_statements_with_a_sight_select_the_columns_of_jobs() -> None:
    # What sessions hold is read for those sessions, not for a caller.
    of_the_server = statements_read_sessions.held
    blind = [case for case in STATEMENTS if "sight" not in case.values[1] and case.values[0] is not of_the_server]

    for case in blind:
        function, given = case.values
        shown = {c.name for c in function(TABLES, **given).selected_columns if getattr(c, "table", None) is TABLES.jobs}
        assert shown <= {"key", "held_by"}


def test_a_list_of_one_namespace_is_read_in_its_index_in_order(rows: Rows) -> None:
    shape = ListShape(namespace=True, states=True, job_types=True, before_key=True)

    plan = _plan(rows, statements_read_jobs.jobs(TABLES, Sight.ALL, shape))

    assert plan[0] == "SEARCH jobhall_jobs USING INDEX jobhall_jobs_listed (namespace_key=? AND key<?)"
    assert not [step for step in plan if "B-TREE" in step]


def test_a_list_of_every_namespace_is_read_in_the_order_of_keys_without_sorting(rows: Rows) -> None:
    for shape in (ListShape(), ListShape(states=True, job_types=True, owners=True, path=True, labels=1)):
        plan = _plan(rows, statements_read_jobs.jobs(TABLES, Sight.OWN_AND_ORGANIZATION, shape))

        assert plan[0] == "SCAN jobhall_jobs"
        assert not [step for step in plan if "B-TREE" in step]


def test_a_list_of_named_jobs_is_read_by_their_ids(rows: Rows) -> None:
    plan = _plan(rows, statements_read_jobs.jobs(TABLES, Sight.ALL, ListShape(namespace=True, job_ids=True)))

    assert plan[0] == "SEARCH jobhall_jobs USING INDEX jobhall_jobs_job_id (job_id=?)"


@pytest.mark.parametrize("full", [False, True])
def test_jobs_are_found_by_their_ids_and_everything_else_by_keys(rows: Rows, full: bool) -> None:
    for statement in (
        statements_read_jobs.job(TABLES, Sight.ALL, full=full),
        statements_read_jobs.jobs_by_id(TABLES, Sight.ALL, full=full),
    ):
        plan = _plan(rows, statement)

        assert plan[0] == "SEARCH jobhall_jobs USING INDEX jobhall_jobs_job_id (job_id=?)"
        assert not [step for step in plan if step.startswith("SCAN jobhall_")]


def test_events_are_read_onward_from_a_number(rows: Rows) -> None:
    plan = _plan(rows, statements_read.events(TABLES))

    assert plan[0] == "SEARCH jobhall_events USING INTEGER PRIMARY KEY (rowid>?)"
    assert not [step for step in plan if step.startswith("SCAN") or "B-TREE" in step]


def test_the_end_of_the_event_log_is_found_without_reading_it(rows: Rows) -> None:
    plan = _plan(rows, statements_read.log_place(TABLES))

    assert "SEARCH jobhall_events" in plan


def test_what_a_task_wrote_is_read_in_its_place(rows: Rows) -> None:
    for statement in (statements_read.item_errors(TABLES), statements_read.log_lines(TABLES)):
        plan = _plan(rows, statement)

        assert plan[0].endswith("USING PRIMARY KEY (job_key=? AND fence=? AND number>?)")
        assert not [step for step in plan if step.startswith("SCAN") or "B-TREE" in step]


def test_the_reaper_looks_at_living_sessions_and_at_the_index_of_holders_only(rows: Rows) -> None:
    expired, stale, held, drained = (
        _plan(rows, statement)
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
    plan = _plan(rows, statements_read_sessions.due_jobs(TABLES))

    assert "SEARCH jobhall_jobs USING INDEX jobhall_jobs_due (due_at<?)" in plan
    assert not [step for step in plan if step.startswith("SCAN jobhall_jobs") or "B-TREE" in step]


def test_what_sessions_hold_is_read_in_the_order_of_the_index_of_holders(rows: Rows) -> None:
    plan = _plan(rows, statements_read_sessions.held(TABLES))

    assert plan[0] == "SEARCH jobhall_jobs USING INDEX jobhall_jobs_held_by (held_by=?)"
    assert not [step for step in plan if step.startswith("SCAN jobhall_") or "B-TREE" in step]


def _plan(rows: Rows, statement: sa.Select[Any]) -> list[str]:
    """The steps of SQLite's plan, outermost first."""
    text = prepared(statement).text
    with rows.engine.connect() as connection:
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", (None,) * text.count("?")).all()
    return [step[-1] for step in steps]
