"""The claim: who may have what, in which turns, and what a session is told with it."""

from __future__ import annotations

from jobhall.states import EventType, JobState
from jobhall_server.domain import server_moves
from jobhall_server.domain.job import Lease, Payload
from jobhall_server.domain.session import NewSession, SessionRecord
from jobhall_server.hall.store import Claimed, Group, Want
from jobhall_server.storage.claims import PARAMETERS_BYTES_MAX
from tests.support.stores import Act, ActAfterSave, Floor, SetClock, sql_only


def keys(claimed: list[Claimed]) -> list[int]:
    return [task.lease.job_key for task in claimed]


async def lose_all(floor: Floor, wanted: list[int], *, confirmed: bool) -> None:
    """Let a session of its own take those jobs, one at a time where they were lost before, and lose them."""
    for key in wanted:
        session = await floor.session()
        [claimed] = await floor.claim(floor.want(session, 100))
        assert key in keys(claimed)

        def lose(group: Group, claimed: list[Claimed] = claimed, key: int = key) -> None:
            for task in claimed:
                job = group.job(task.lease.job_key)
                assert job is not None
                group.change(job, server_moves.LOSE_UNSTARTED if confirmed and job.key == key else server_moves.RETURN)

        await floor.store.run(Act(lose, job_keys=keys(claimed)))


async def test_a_worker_is_told_all_it_needs(floor: Floor, clock: SetClock) -> None:
    new = floor.new(
        parameters=Payload('{"a": "ü"}', "application/json"),
        labels='{"k":"v"}',
        path="p",
        file_name="f",
        file_size=3,
        owner="ann",
        organization_id="acme",
        priority=5,
        max_attempts=2,
        rules='{"run":5}',
    )
    [key] = await floor.submit_all([new])
    session = await floor.session()

    [[claimed]] = await floor.claim(floor.want(session, 1, nonce=2**62 + 1))

    assert claimed == Claimed(
        lease=Lease(key, 1, 2**62 + 1),
        job_id=new.job_id,
        queue_key=floor.queue_key,
        attempt=1,
        max_attempts=2,
        priority=5,
        created_at=clock.at,
        labels='{"k":"v"}',
        path="p",
        file_name="f",
        file_size=3,
        owner="ann",
        organization_id="acme",
        rules='{"run":5}',
        parameters=Payload('{"a": "ü"}', "application/json"),
    )


async def test_what_a_group_submits_the_same_group_can_claim_for_a_session_that_it_opens(floor: Floor) -> None:
    opened: list[SessionRecord] = []
    new = NewSession("s", "t", "w", (), (), "{}", "{}", 1, floor.store.replica_key, 1)

    submitted = floor.store.run(Act(lambda group: group.insert_job(floor.new())))
    opening = floor.store.run(Act(lambda group: opened.append(group.open_session(new))))
    claiming = floor.store.run(ActAfterSave(lambda group: group.claim([floor.want(opened[0], 1)])))

    await opening
    [claimed] = await claiming
    assert keys(claimed) == [await submitted]


async def test_only_an_attached_session_at_its_newest_epoch_is_given_work(floor: Floor) -> None:
    await floor.submit(3)
    session, gone, old = [await floor.session() for _ in range(3)]

    def move(group: Group) -> None:
        for key in (gone.key, old.key):
            found = group.session(key)
            assert found is not None
            group.save_session(found.detached(group.now))
        back = group.session(old.key)
        assert back is not None
        group.save_session(back.attached(replica_key=back.replica_key, connection=2))

    await floor.store.run(Act(move, session_keys=[gone.key, old.key]))

    one = 1
    wants = [
        floor.want(gone, one, epoch=2),
        floor.want(old, one),
        floor.want(session, one),
        floor.want(old, one, epoch=3),
    ]
    unknown = Want(999, 1, 1, 7, "w", ((floor.queue_key, 1),))
    shares = await floor.claim(unknown, wants[0], wants[1], wants[2])
    assert [len(share) for share in shares] == [0, 0, 0, 1]
    assert [len(share) for share in await floor.claim(wants[3])] == [1]


async def test_sessions_of_one_claim_share_in_turns(floor: Floor) -> None:
    wanted = await floor.submit(7)
    first, second, third = [await floor.session() for _ in range(3)]

    shares = await floor.claim(floor.want(first, 2), floor.want(second, 10), floor.want(third, 3))

    assert [keys(share) for share in shares] == [
        [wanted[0], wanted[3]],
        [wanted[1], wanted[4], wanted[6]],
        [wanted[2], wanted[5]],
    ]
    assert [event.event_type for event in (await floor.events())[7:]] == [EventType.CLAIMED] * 7


async def test_a_returned_job_waits_from_its_return(floor: Floor, clock: SetClock) -> None:
    [first] = await floor.submit()
    lease = await floor.claim_one()
    clock.at += 1
    [second] = await floor.submit()
    clock.at += 1

    def give_back(group: Group) -> None:
        job = group.job(first)
        assert job is not None
        assert server_moves.return_undelivered(job, lease) == (server_moves.RETURN, ())
        group.change(job, server_moves.RETURN)

    await floor.store.run(Act(give_back, job_keys=[first]))

    [claimed] = await floor.claim(floor.want(await floor.session(), 5))
    assert keys(claimed) == [second, first]
    assert claimed[1].lease.fence == 2


async def test_a_lost_job_goes_where_no_other_lost_one_is(floor: Floor) -> None:
    """A job that kills its worker must not take the losses of innocents with it."""
    poison = await floor.submit(3, priority=9)
    await lose_all(floor, poison, confirmed=True)
    plain = await floor.submit(2)
    session, other = await floor.session(), await floor.session()

    [first] = await floor.claim(floor.want(session, 10))
    [again] = await floor.claim(floor.want(session, 10))
    [of_other] = await floor.claim(floor.want(other, 10))

    assert keys(first) == [poison[0], *plain]
    assert keys(again) == []
    assert keys(of_other) == [poison[1]]


async def test_a_claim_ends_early_rather_than_hold_too_many_bytes_but_never_with_nothing(floor: Floor) -> None:
    big = Payload("x" * (PARAMETERS_BYTES_MAX // 3 + 1))
    huge = Payload(b"x" * (PARAMETERS_BYTES_MAX + 1))
    await floor.submit(4, parameters=big)
    await floor.submit(1, parameters=huge, priority=-1)
    session = await floor.session()

    sizes = [[len(share) for share in await floor.claim(floor.want(session, 10))] for _ in range(3)]

    assert sizes == [[3], [2], [0]]


@sql_only
async def test_what_was_claimed_is_held_and_no_longer_waits(floor: Floor) -> None:
    [key] = await floor.submit()

    lease = await floor.claim_one()

    record = await floor.record(key)
    assert record is not None
    assert (record.state, record.fence, record.nonce) == (JobState.CLAIMED, lease.fence, lease.nonce)
    assert floor.rows("SELECT ready, held_by IS NULL, worker FROM jobhall_jobs") == [(None, 0, "w")]
    assert await floor.claim(floor.want(await floor.session(), 5)) == [[]]
