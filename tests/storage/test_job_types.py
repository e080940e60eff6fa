"""Job types as they are stored: versions are kept, the deleted come back, and what changed is seen from outside."""

from jobhall_server.domain.job_defaults import JobDefaults
from jobhall_server.hall.job_type_units import CountWaiting, DeleteJobType, RegisterJobType, Registration, SetPaused
from jobhall_server.hall.store import Group, Store
from jobhall_server.hall.views import JobTypeView
from tests.support.stores import Act, Floor


async def register(store: Store, *, replace: bool = False, **fields: str | None) -> JobTypeView:
    registration = Registration("default", "typed")._replace(**fields)  # type: ignore[arg-type]
    registered, _ = await store.run(RegisterJobType(registration, replace=replace))
    return registered


async def listed(store: Store) -> JobTypeView | None:
    return next((known for known in await store.reads.job_types() if known.name == "typed"), None)


async def test_every_version_of_the_schemas_is_kept(store: Store) -> None:
    await register(store, parameters_schema='{"minimum": 1}')
    await register(store, replace=True, parameters_schema='{"minimum": 2}', result_schema="true")
    newest = await register(store, replace=True)

    assert newest.version == 3
    assert await listed(store) == newest
    assert [await store.reads.schemas(newest.key, version) for version in (1, 2, 3)] == [
        ('{"minimum": 1}', None),
        ('{"minimum": 2}', "true"),
        (None, None),
    ]


async def test_a_type_is_read_back_with_all_that_was_said_of_it(store: Store) -> None:
    defaults = JobDefaults(priority=-1, max_attempts=2, retention_us=7)
    registration = Registration("default", "typed", "what it does", '{"minimum": 1}', "true", defaults)

    registered, created = await store.run(RegisterJobType(registration, replace=False))
    paused = await store.run(SetPaused(registered, paused=True))

    assert created
    assert await listed(store) == paused
    assert (paused.defaults, paused.description, paused.revision) == (defaults.text(), "what it does", 2)


async def test_a_deleted_type_that_a_worker_brings_back_leaves_the_old_schemas_to_the_old_jobs(store: Store) -> None:
    """The Hello wrote its empty schemas over those of the version that jobs from before were submitted under."""
    known = await register(store, result_schema='{"minimum": 1}')
    retired, waiting = await store.run(DeleteJobType(known, "", auto_only=False))
    assert (retired.retired, waiting, await listed(store)) == (True, 0, None)

    def hello(group: Group) -> int:
        key, new = group.job_type_key(group.namespace_key("default"), "typed")
        assert new
        return key

    assert await store.run(Act(hello)) == known.key
    back = await listed(store)
    assert back is not None
    assert (back.auto, back.result_schema, back.version) == (True, None, 2)
    assert await store.reads.schemas(known.key, 1) == (None, '{"minimum": 1}')


async def test_the_mark_of_all_types_moves_with_each_change_and_only_then(store: Store, floor: Floor) -> None:
    marks = [await store.reads.job_types_mark()]
    known = await register(store)
    marks.append(await store.reads.job_types_mark())
    known = await store.run(SetPaused(known, paused=True))
    marks.append(await store.reads.job_types_mark())
    await store.run(DeleteJobType(known, "", auto_only=False))
    marks.append(await store.reads.job_types_mark())

    assert len(set(marks)) == 4
    await floor.submit(3)
    assert await store.reads.job_types_mark() == marks[-1]


async def test_jobs_that_have_not_ended_are_counted_in_all_namespaces(store: Store, floor: Floor) -> None:
    await floor.submit(3)
    [score] = [known for known in await store.reads.job_types() if known.name == "score"]

    assert await store.run(CountWaiting(score, "")) == 3
    kept, waiting = await store.run(DeleteJobType(score, "", auto_only=False))
    assert (kept.retired, waiting) == (False, 3)
