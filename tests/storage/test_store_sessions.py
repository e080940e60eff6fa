"""Sessions in a store: taken over, unary, drained, expired, all by the time that was served; on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jobhall.ids import new_id
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import Expired
from tests.support.stores import Act, Floor, SetClock
from tests.support.task_steps import SECOND, expired, serve


async def save(
    floor: Floor,
    session: SessionRecord,
    move: Callable[[SessionRecord, int], SessionRecord],
    hello: NewSession | None = None,
) -> SessionRecord:
    """Make the move of the session as it is stored."""

    def decide(group: Group) -> SessionRecord:
        found = group.session(session.key)
        assert found is not None
        moved = move(found, group.now)
        group.save_session(moved, hello)
        return moved

    return await floor.store.run(Act(decide, session_keys=[session.key]))


async def stored(floor: Floor, session: SessionRecord) -> SessionRecord | None:
    return await floor.store.run(Act(lambda group: group.session(session.key), session_keys=[session.key]))


async def test_a_session_is_found_by_its_id_also_in_the_group_that_opens_it(floor: Floor) -> None:
    new = floor.hello()

    def open_it(group: Group) -> tuple[SessionRecord | None, SessionRecord, SessionRecord | None]:
        return group.session_by_id(new.session_id), group.open_session(new), group.session_by_id(new.session_id)

    before, opened, found = await floor.store.run(Act(open_it, session_ids=[new.session_id]))
    again = await floor.store.run(
        Act(lambda group: group.session_by_id(new.session_id), session_ids=[new.session_id, new_id()])
    )
    unknown = await floor.store.run(Act(lambda group: group.session_by_id("nobody"), session_ids=["nobody"]))

    assert before is unknown is None
    assert opened == found == again
    assert (opened.state, opened.epoch, opened.connection, opened.resume_digest) == (
        SessionState.ATTACHED,
        1,
        1,
        "digest",
    )


async def test_a_session_that_is_opened_and_moved_in_one_group_is_stored_as_it_was_left(floor: Floor) -> None:
    def both(group: Group) -> SessionRecord:
        session = group.open_session(floor.hello("first")).detached(group.now)
        group.save_session(session, floor.hello("second"))
        return session

    session = await floor.store.run(Act(both))

    view = await floor.store.reads.session(session.session_id)
    assert view is not None
    assert (view.record, view.worker_name) == (session, "second")


async def test_a_takeover_is_a_greater_epoch_elsewhere_and_what_the_worker_says_by_now(floor: Floor) -> None:
    session = await floor.session("before")
    hello = floor.hello("after", namespaces=("lab",), job_types=("mix",), labels='{"a":"b"}', tasks_max=3)

    moved = await save(floor, session, lambda found, _: found.attached(replica_key=77, connection=5), hello)

    assert moved == replace(session, epoch=2, replica_key=77, connection=5)
    assert await stored(floor, session) == moved
    view = await floor.store.reads.session(session.session_id)
    assert view is not None
    assert (view.record, view.worker_name, view.namespaces, view.job_types) == (moved, "after", ("lab",), ("mix",))
    assert (view.labels, view.tasks_max) == ({"a": "b"}, 3)
    claimed = await floor.claim(floor.want(session, 1), floor.want(moved, 1))
    assert claimed == [[], []]
    await floor.submit(2)
    assert [len(share) for share in await floor.claim(floor.want(session, 1), floor.want(moved, 1))] == [0, 1]


async def test_many_sessions_are_saved_at_once_each_with_its_own(floor: Floor) -> None:
    sessions = [await floor.session(f"worker {number}") for number in range(3)]
    keys = [session.key for session in sessions]

    def move(group: Group) -> list[SessionRecord]:
        moved = []
        for session, made in zip(
            sessions, (SessionRecord.detached, SessionRecord.lost, SessionRecord.draining), strict=True
        ):
            found = group.session(session.key)
            assert found is not None
            moved.append(made(found, group.now))
            group.save_session(moved[-1])
        return moved

    moved = await floor.store.run(Act(move, session_keys=keys))

    assert [await stored(floor, session) for session in sessions] == moved
    assert [view.worker_name for view in await floor.store.reads.sessions(after_key=None, limit=9)] == [
        "worker 2",
        "worker 0",
    ]


async def test_what_a_unit_that_raised_made_of_a_session_is_gone(floor: Floor) -> None:
    session = await floor.session()

    def fail(group: Group) -> None:
        group.save_session(session.lost(group.now), floor.hello("another"))
        raise ValueError("dropped")

    unit = Act(fail, session_keys=[session.key])
    assert isinstance(await _raised(floor, unit), ValueError)

    assert await stored(floor, session) == session
    view = await floor.store.reads.session(session.session_id)
    assert view is not None
    assert view.worker_name == "w"


async def test_a_unary_session_is_detached_from_birth_and_is_given_work(floor: Floor, clock: SetClock) -> None:
    await floor.submit(2)
    session = await floor.session(ttl_us=60 * SECOND)
    assert (session.state, session.detached_at, session.unary) == (SessionState.DETACHED, clock.at, True)

    [claimed] = await floor.claim(floor.want(session, 1, accept_us=10 * SECOND))

    record = await floor.record(claimed[0].lease.job_key)
    assert record is not None
    assert record.due_at == clock.at + 10 * SECOND
    ended = await save(floor, session, lambda found, now: found.closed(now))
    assert await floor.claim(floor.want(ended, 1)) == [[]]


async def test_a_draining_session_is_given_nothing_though_it_is_attached(floor: Floor) -> None:
    await floor.submit()
    session = await save(floor, await floor.session(), lambda found, now: found.draining(now + SECOND))

    assert await floor.claim(floor.want(session, 1)) == [[]]


async def test_sessions_are_listed_newest_first_in_pages_while_they_live(floor: Floor, clock: SetClock) -> None:
    await floor.submit(3)
    first, second, third, over = [await floor.session(f"worker {number}") for number in range(4)]
    await floor.claim(floor.want(first, 2))
    await save(floor, over, lambda found, now: found.closed(now))
    start = clock.at
    await serve(floor, clock, 3)
    await save(floor, third, lambda found, now: found.detached(now))
    await serve(floor, clock, 1)

    page = await floor.store.reads.sessions(after_key=None, limit=2)
    rest = await floor.store.reads.sessions(after_key=page[-1].record.key, limit=9)

    assert [view.record.key for view in [*page, *rest]] == [third.key, second.key, first.key]
    assert [view.held_count for view in [*page, *rest]] == [0, 0, 2]
    assert [view.seen_at for view in page] == [start + 3 * SECOND, start + 4 * SECOND]
    assert {view.created_at for view in page} == {start}
    assert await floor.store.reads.session(over.session_id) is None


async def test_a_session_expires_when_it_was_away_for_its_time_to_live(floor: Floor, clock: SetClock) -> None:
    stream, own = await floor.session(), await floor.session(ttl_us=20 * SECOND)
    await serve(floor, clock, 30)
    assert (await expired(floor)).sessions == (own.key,)
    await save(floor, own, lambda found, now: found.renewed(now, ttl_us=17 * SECOND))
    await save(floor, stream, lambda found, now: found.detached(now))

    await serve(floor, clock, 14)
    assert (await expired(floor)).sessions == ()
    await serve(floor, clock, 1)
    assert (await expired(floor)).sessions == (stream.key,)
    await serve(floor, clock, 2)
    assert sorted((await expired(floor)).sessions) == [stream.key, own.key]


async def test_after_a_pause_nothing_is_over_before_time_was_served_again(floor: Floor, clock: SetClock) -> None:
    """A server that was stopped for an hour: who was away before it has had no chance to come back."""
    await floor.submit()
    session, unary = await floor.session(), await floor.session(ttl_us=20 * SECOND)
    await save(floor, session, lambda found, now: found.detached(now).draining(now))
    await floor.claim(floor.want(unary, 1, accept_us=10 * SECOND))
    await serve(floor, clock, 5)
    clock.at += 3600 * SECOND

    unnoticed = await expired(floor)
    assert not await floor.store.renew()
    await floor.store.register_anew()
    at_once = await expired(floor)
    await serve(floor, clock, 14)
    soon = await expired(floor)
    await serve(floor, clock, 1)
    served = await expired(floor)
    await serve(floor, clock, 5)
    longer = await expired(floor)

    assert unnoticed == at_once == soon == Expired()
    assert (served.sessions, served.drained, len(served.due)) == ((session.key,), (session.key,), 1)
    assert sorted(longer.sessions) == [session.key, unary.key]


async def test_a_clock_that_is_set_ahead_is_no_pause_when_that_was_said_before(floor: Floor, clock: SetClock) -> None:
    """A test that sets the clock ahead by an hour means an hour in which the server was there."""
    session, unary = await floor.session(), await floor.session(ttl_us=20 * SECOND)
    before = floor.store.replica_key
    await save(floor, session, lambda found, now: found.detached(now))
    await save(floor, unary, lambda found, now: found.detached(now))

    assert await floor.store.renew(ahead_us=3600 * SECOND)
    assert await expired(floor) == Expired()
    clock.at += 3600 * SECOND

    assert sorted((await expired(floor)).sessions) == [session.key, unary.key]
    assert await floor.store.renew()
    assert floor.store.replica_key == before


async def test_a_session_that_drains_is_named_when_it_was_to_be_gone(floor: Floor, clock: SetClock) -> None:
    await serve(floor, clock, 20)
    session, other = await floor.session(), await floor.session()
    await save(floor, session, lambda found, now: found.draining(now + 2 * SECOND))

    await serve(floor, clock, 1)
    assert (await expired(floor)).drained == ()
    await serve(floor, clock, 1)
    assert (await expired(floor)).drained == (session.key,)
    await save(floor, session, lambda found, now: found.closed(now))
    assert (await expired(floor)).drained == ()
    assert await stored(floor, other) == other


async def test_a_replica_that_could_not_renew_for_ten_seconds_goes_on_as_another(floor: Floor, clock: SetClock) -> None:
    """Others may have taken it for dead, and its sessions over: what it attached is to be detached."""
    session = await floor.session()
    before = floor.store.replica_key
    clock.at += 10 * SECOND
    assert await floor.store.renew()

    clock.at += 10 * SECOND + 1
    assert not await floor.store.renew()
    assert not await floor.store.renew()
    await floor.store.register_anew()

    assert floor.store.replica_key > before
    assert await floor.store.renew()
    assert (await expired(floor)).stale == (session.key,)
    again = await save(
        floor,
        session,
        lambda found, now: found.detached(now).attached(replica_key=floor.store.replica_key, connection=2),
    )
    assert (await expired(floor)).stale == ()
    assert again.epoch == 3


async def _raised(floor: Floor, unit: Act[None]) -> BaseException | None:
    try:
        await floor.store.run(unit)
    except ValueError as error:
        return error
    return None
