"""By which index each kind of list is read, and what a job's history is."""

from collections.abc import Iterator
from typing import Any

import pytest

from jobhall_server.hall.views import ListOrder
from jobhall_server.storage import statements_read_history, statements_read_jobs
from jobhall_server.storage.read_clauses import Sight
from jobhall_server.storage.schema import tables
from jobhall_server.storage.statements_read_lists import ListShape, Source, edge, page
from tests.support.plans import plan
from tests.support.rows import Rows, rows_in

TABLES = tables()
MANY: dict[str, Any] = {
    "owners": True,
    "labels": 2,
    "path": True,
    "failure_codes": True,
    "ended_after": True,
    "priority_min": True,
}
BY_ROW = "SEARCH jobhall_jobs USING INTEGER PRIMARY KEY (rowid=?)"
BY_STATE: dict[str, Any] = {"namespace": True, "job_types": True, "states": True}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    with rows_in(tmp_path_factory.mktemp("rows")) as made:
        yield made


ORDERED = [
    (ListShape(Source.ALL), "INTEGER PRIMARY KEY (rowid{})"),
    (ListShape(Source.QUEUES, namespace=True), "COVERING INDEX jobhall_jobs_listed (queue_key=? AND key{})"),
    (
        ListShape(Source.QUEUES, namespace=True, job_types=True, states=True),
        "COVERING INDEX jobhall_jobs_listed (queue_key=? AND key{})",
    ),
    (
        ListShape(Source.STATES, resting=True, **BY_STATE),
        "COVERING INDEX jobhall_jobs_aside (queue_key=? AND aside=? AND key{})",
    ),
    (
        ListShape(Source.BATCH, batch_id=True, **BY_STATE),
        "COVERING INDEX jobhall_jobs_batch (batch_key=? AND key{})",
    ),
    (
        ListShape(Source.UNIQUE, unique_key=True, **BY_STATE),
        "COVERING INDEX jobhall_jobs_unique (unique_key=? AND key{})",
    ),
]


@pytest.mark.parametrize("order", [ListOrder.CREATED_DESC, ListOrder.CREATED])
@pytest.mark.parametrize(("shape", "index"), ORDERED)
def test_the_edge_of_a_look_is_found_in_an_index_without_sorting(
    rows: Rows, shape: ListShape, index: str, order: ListOrder
) -> None:
    steps = plan(rows, edge(TABLES, shape._replace(order=order, **MANY)))

    assert f"SEARCH jobhall_jobs USING {index.format('<?' if order is ListOrder.CREATED_DESC else '>?')}" in steps
    assert not [step for step in steps if step.startswith("SCAN jobhall_jobs") or "TEMP B-TREE" in step]


@pytest.mark.parametrize("order", [ListOrder.CREATED_DESC, ListOrder.CREATED])
@pytest.mark.parametrize(("shape", "index"), ORDERED)
def test_a_page_is_what_the_index_has_up_to_the_edge_and_is_not_sorted(
    rows: Rows, shape: ListShape, index: str, order: ListOrder
) -> None:
    steps = plan(rows, page(TABLES, Sight.OWN, shape._replace(order=order, **MANY)))

    looked_at = index.replace("key{}", "key>? AND key<?").replace("rowid{}", "rowid>? AND rowid<?")
    found = [step for step in steps if "jobhall_jobs" in step]
    assert found == [BY_ROW, BY_ROW, f"SEARCH jobhall_jobs USING {looked_at}"]
    assert not [step for step in steps if "TEMP B-TREE" in step]


@pytest.mark.parametrize("order", list(ListOrder))
def test_jobs_that_wait_or_are_held_are_found_in_the_indexes_that_hold_only_such(rows: Rows, order: ListOrder) -> None:
    shape = ListShape(Source.STATES, order, ready=True, held=True, **BY_STATE)
    statements = [page(TABLES, Sight.ALL, shape)] + ([] if shape.by_update else [edge(TABLES, shape)])

    for statement in statements:
        found = {step for step in plan(rows, statement) if "jobhall_jobs" in step} - {BY_ROW}

        assert found == {
            "SEARCH jobhall_jobs USING COVERING INDEX jobhall_jobs_ready (queue_key=? AND lane=?)",
            "SEARCH jobhall_jobs USING COVERING INDEX jobhall_jobs_held_by (held_by>?)",
        }


def test_named_jobs_are_listed_by_their_ids(rows: Rows) -> None:
    steps = plan(rows, page(TABLES, Sight.ALL, ListShape(Source.IDS, job_ids=True, **BY_STATE)))

    index = "COVERING INDEX jobhall_jobs_job_id (job_id=? AND rowid>? AND rowid<?)"
    assert [step for step in steps if "jobhall_jobs" in step] == [BY_ROW, BY_ROW, f"SEARCH jobhall_jobs USING {index}"]


def test_a_list_by_update_time_reads_no_more_than_its_namespace(rows: Rows) -> None:
    for order in (ListOrder.UPDATED_DESC, ListOrder.UPDATED):
        steps = plan(rows, page(TABLES, Sight.ALL, ListShape(Source.QUEUES, order, namespace=True)))

        assert "SEARCH jobhall_jobs USING INDEX jobhall_jobs_listed (queue_key=?)" in steps


def test_what_an_attempt_left_behind_is_read_in_its_place(rows: Rows) -> None:
    for statement in (statements_read_history.item_errors(TABLES), statements_read_history.log_lines(TABLES)):
        steps = plan(rows, statement)

        assert steps[0].endswith("USING PRIMARY KEY (job_key=? AND fence=? AND number>?)")
        assert not [step for step in steps if step.startswith("SCAN") or "B-TREE" in step]


def test_attempts_are_read_by_their_job(rows: Rows) -> None:
    for statement in (statements_read_history.attempts(TABLES), statements_read_history.attempt_fence(TABLES)):
        steps = plan(rows, statement)

        assert [step for step in steps if "SEARCH jobhall_attempts USING PRIMARY KEY (job_key=?" in step]
        assert not [step for step in steps if step.startswith("SCAN jobhall_")]


def test_jobs_ahead_are_counted_in_the_index_of_claims(rows: Rows) -> None:
    steps = plan(rows, statements_read_jobs.jobs_ahead(TABLES))

    index = "COVERING INDEX jobhall_jobs_ready (queue_key=? AND lane=? AND priority_order<?)"
    assert f"SEARCH jobhall_jobs USING {index}" in steps


def test_ends_of_jobs_are_looked_through_in_the_order_of_keys(rows: Rows) -> None:
    assert plan(rows, statements_read_jobs.ends(TABLES)) == ["SEARCH jobhall_jobs USING INTEGER PRIMARY KEY (rowid>?)"]
