"""Which index each read of batches and counters takes: none walks through jobs, or through batches that are done."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from jobhall_server.storage import statements_read_batches as statements
from jobhall_server.storage.read_clauses import Sight
from jobhall_server.storage.schema import tables
from tests.support.plans import plan
from tests.support.rows import Rows, rows_in

TABLES = tables()
NEWEST: dict[str, bool] = {"of_one_namespace": True, "by_name": False, "newest_first": True}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    with rows_in(tmp_path_factory.mktemp("rows")) as made:
        yield made


@pytest.mark.parametrize(
    ("statement", "step"),
    [
        (
            statements.batch(TABLES, Sight.OWN),
            "SEARCH jobhall_batches USING INDEX jobhall_batches_batch_id (batch_id=?)",
        ),
        (
            statements.batches(TABLES, Sight.OWN, **NEWEST),
            "SEARCH jobhall_batches USING INDEX jobhall_batches_listed (namespace_key=? AND key<?)",
        ),
        (
            statements.batches(TABLES, Sight.OWN, **NEWEST | {"newest_first": False}),
            "SEARCH jobhall_batches USING INDEX jobhall_batches_listed (namespace_key=? AND key>?)",
        ),
        (
            statements.batches(TABLES, Sight.ALL, **NEWEST | {"of_one_namespace": False}),
            "SEARCH jobhall_batches USING INTEGER PRIMARY KEY (rowid<?)",
        ),
        (statements.batches_at_work(TABLES), "SEARCH jobhall_batches USING INDEX jobhall_batches_at_work (key>?)"),
        (
            statements.members(TABLES),
            "SEARCH jobhall_jobs USING COVERING INDEX jobhall_jobs_batch (batch_key=? AND key>?)",
        ),
        (
            statements.running_members(TABLES),
            "SEARCH jobhall_jobs USING INDEX jobhall_jobs_held_by (held_by>?)",
        ),
        (
            statements.oldest_ready(TABLES),
            "SEARCH next_one USING COVERING INDEX jobhall_jobs_ready (queue_key=? AND lane=? AND priority_order>?)",
        ),
        (statements.oldest_own(TABLES, Sight.OWN), "SEARCH jobhall_jobs USING INDEX jobhall_jobs_ready (queue_key=?)"),
    ],
)
def test_a_read_finds_what_it_wants_by_its_index(rows: Rows, statement: sa.Select[Any], step: str) -> None:
    steps = plan(rows, statement)

    assert step in steps
    assert not [one for one in steps if one.startswith("SCAN jobhall") and one != step]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


@pytest.mark.parametrize("of_one_namespace", [False, True])
def test_counters_are_summed_up_without_a_look_at_any_job(rows: Rows, of_one_namespace: bool) -> None:
    steps = plan(rows, statements.stats(TABLES, Sight.OWN, of_one_namespace=of_one_namespace))

    assert not [step for step in steps if "jobhall_jobs" in step]
