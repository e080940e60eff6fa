"""Properties of the commit group: how work is cut into groups and units never shows in what is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, Lease, NewJob
from jobhall_server.domain.rules import RetryPolicy, Rules
from jobhall_server.domain.session import NewSession, SessionRecord
from jobhall_server.hall.store import Group, Want
from jobhall_server.storage import schema
from tests.support.groups import Groups, groups_in_memory
from tests.support.stores import Act, claim_unit

STEPS = (
    "accept",
    "complete",
    "complete_with_result",
    "fail",
    "release",
    "note",
    "return",
    "lose",
    "resume",
    "fall_due",
    "cancel",
    "retry",
    "update",
)
RULES = (None, Rules(run_timeout_us=5).text(), Rules(RetryPolicy(initial_delay_us=0), progress_timeout_us=5).text())
LABELS = '{"made": "first"}'
LATER = 20
"""After the time at which jobs are updated."""
FAR = 10**18
"""A time at which everything is due, in whichever group it is judged."""


UPDATES = (
    moves.JobUpdate(frozenset({"labels"}), labels='{"a": "b"}'),
    moves.JobUpdate(frozenset({"labels", "access"}), access="[1, [], [], []]"),
    moves.JobUpdate(frozenset({"labels", "priority"}), labels='{"a": "c"}', priority=3),
    moves.JobUpdate(frozenset({"schedule_at"}), schedule_at=LATER),
    moves.JobUpdate(frozenset({"schedule_at", "labels"})),
    moves.JobUpdate(frozenset({"start_deadline"}), start_deadline=LATER),
    moves.JobUpdate(frozenset({"start_deadline"})),
    moves.JobUpdate(moves.UPDATABLE, schedule_at=LATER, start_deadline=LATER + 1),
)
"""One for each digest."""


def decision(step: str, job: JobRecord, lease: Lease, digest: int) -> tuple[moves.Decision, Values]:
    """What the move of that name says to the job under its first lease."""
    when: dict[str, Any] = {"now": 10, "chance": 0.0, "delay_us": digest % 3}
    told: dict[str, Any] = {"kind": FailureKind.APPLICATION, "code": f"E{digest}", "retryable": digest % 2 == 0}
    said: dict[str, Callable[[], tuple[moves.Decision, Values]]] = {
        "accept": lambda: worker_moves.accept(job, lease, 10),
        "complete": lambda: worker_moves.complete(job, lease, worker_moves.NO_RESULT_DIGEST),
        "complete_with_result": lambda: worker_moves.complete(job, lease, digest),
        "fail": lambda: worker_moves.fail(job, lease, digest, **told, **when),
        "release": lambda: worker_moves.release(job, lease, digest, not_mine=digest % 2 == 0, **when),
        "note": lambda: worker_moves.note_item_errors(job, digest % 5),
        "return": lambda: server_moves.return_undelivered(job, lease),
        "lose": lambda: server_moves.lose(job, confirmed=True),
        "resume": lambda: server_moves.resume(job, lease, session_key=2, started=digest % 2 == 0, now=10)[1:],
        "fall_due": lambda: server_moves.fall_due(job, FAR, 0.0),
        "cancel": lambda: moves.cancel(job, reason="r", by="b", stop_at=20),
        "retry": lambda: (moves.retry(job), ()),
        "update": lambda: moves.update(job, UPDATES[digest - 2], 10),
    }
    return said[step]()


def take(group: Group, lease: Lease, step: str, digest: int) -> None:
    job = group.job(lease.job_key)
    assert job is not None
    change, values = decision(step, job, lease, digest)
    if isinstance(change, Change):
        group.change(job, change, values)


def prepare(groups: Groups, count: int) -> list[Lease]:
    """So many jobs of one queue, all claimed by one session."""
    session = open_session(groups)
    news = [NewJob(f"{number:032x}", 1, 1, rules=rules, labels=LABELS) for number, rules in enumerate(RULES[:count])]
    groups.act(lambda group: [group.insert_job(new) for new in news])
    want = Want(session.key, 1, count, 7, "w", ((1, count),))
    [[claimed]] = groups.run([claim_unit(want)])
    return [job.lease for job in claimed]


def open_session(groups: Groups) -> SessionRecord:
    number = groups.now
    new = NewSession(f"session-{number}", "t", "w", (), (), "{}", "{}", 10, 1, 1)
    session: SessionRecord = groups.act(lambda group: group.open_session(new))
    return session


def stored(groups: Groups) -> tuple[list[Any], ...]:
    """Everything that must not depend on how the work was cut: jobs, their events and attempts, without the times."""
    timeless = [column.name for column in schema.tables().jobs.c if not column.name.endswith("_at")]
    timeless = [name for name in timeless if name not in ("ready", "terminal")]
    jobs = groups.rows(f"SELECT {', '.join(timeless)} FROM jobhall_jobs ORDER BY key")
    stamped = groups.rows(
        "SELECT key, ready IS NULL, terminal IS NULL, started_at IS NULL, ended_at IS NULL, due_at "
        "FROM jobhall_jobs ORDER BY key"
    )
    events = groups.rows(
        "SELECT job_key, revision, event_type, state, attempt, worker, failure_kind, failure_code, labels, access, "
        "previous FROM jobhall_events ORDER BY job_key, number"
    )
    attempts = groups.rows(
        "SELECT job_key, fence, attempt, worker, session_key, claimed_at IS NULL, outcome, failure_kind, failure_code, "
        "item_error_count FROM jobhall_attempts ORDER BY job_key, fence"
    )
    return jobs, stamped, events, attempts


plans = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(STEPS), st.integers(2, 9), st.booleans()), min_size=1, max_size=12
)
"""(job, step, digest, whether a new group begins before it)."""


@settings(max_examples=120)
@given(plans)
# A timeout and a late completion: the failure is told by the first of their events, and not by the last.
@example([(1, "accept", 2, False), (1, "fall_due", 2, False), (1, "complete", 2, False)])
# An attempt that ends, goes on after all, ends again and for good, and is history by a retry.
@example([(0, step, 3, False) for step in ("accept", "lose", "resume", "fail", "retry", "update", "update")])
@example([(0, step, 2, False) for step in ("accept", "fail", "cancel", "retry", "update", "cancel", "retry")])
def test_moves_in_one_group_leave_what_the_same_moves_in_many_groups_leave(
    plan: list[tuple[int, str, int, bool]],
) -> None:
    with groups_in_memory() as each, groups_in_memory() as cut, groups_in_memory() as whole:
        leases, _, _ = (prepare(groups, 3) for groups in (each, cut, whole))

        units = [(job, step, digest) for job, step, digest, _ in plan]
        for job, step, digest in units:
            each.run([acting(leases[job], step, digest)])
        for part in parts(plan):
            cut.run([acting(leases[job], step, digest) for job, step, digest, _ in part])
        whole.run([acting(leases[job], step, digest) for job, step, digest in units])

        assert stored(each) == stored(cut) == stored(whole)
        assert_log_is_whole(whole)


@settings(max_examples=120)
@given(plans, st.sets(st.integers(0, 11)))
def test_a_unit_that_raises_leaves_no_trace(plan: list[tuple[int, str, int, bool]], raising: set[int]) -> None:
    with groups_in_memory() as with_them, groups_in_memory() as without:
        leases, _ = (prepare(groups, 3) for groups in (with_them, without))
        new = NewJob("f" * 32, 1, 1)

        answers = with_them.run(
            [
                failing(leases[job], step, digest, new) if place in raising else acting(leases[job], step, digest)
                for place, (job, step, digest, _) in enumerate(plan)
            ]
            + [Act(lambda group: group.insert_job(new))]
        )
        without.run(
            [
                acting(leases[job], step, digest)
                for place, (job, step, digest, _) in enumerate(plan)
                if place not in raising
            ]
            + [Act(lambda group: group.insert_job(new))]
        )

        assert stored(with_them) == stored(without)
        assert_log_is_whole(with_them)
        failed = {place for place, answer in enumerate(answers) if isinstance(answer, RuntimeError)}
        assert failed == {place for place in raising if place < len(plan)}
        for table in ("counters", "namespaces", "job_types", "sessions", "results", "logs"):
            assert with_them.rows(f"SELECT * FROM jobhall_{table}") == without.rows(f"SELECT * FROM jobhall_{table}")


jobs_of_queues = st.lists(
    st.tuples(st.integers(1, 3), st.integers(-2, 2), st.booleans(), st.booleans()), min_size=1, max_size=25
)
"""(queue, priority, whether a later group submits it, whether it was lost before)."""

appetites = st.lists(
    st.tuples(st.integers(0, 12), st.permutations([1, 2, 3]), st.integers(0, 6)), min_size=1, max_size=4
)
"""(credit, the queues in turn, at most so many of each)."""


@settings(max_examples=150)
@given(jobs_of_queues, appetites)
def test_a_claim_takes_from_the_head_of_each_queue_within_every_bound(
    jobs: list[tuple[int, int, bool, bool]], hungry: list[tuple[int, list[int], int]]
) -> None:
    with groups_in_memory() as groups:
        waiting = submit_and_lose(groups, jobs)
        sessions = [open_session(groups) for _ in hungry]
        wants = [
            Want(session.key, 1, credit, 9, "w", tuple((queue, limit) for queue in queues))
            for session, (credit, queues, limit) in zip(sessions, hungry, strict=True)
        ]

        [given_out] = groups.run([claim_unit(*wants)])

        lost = {key for key, _, is_lost in waiting if is_lost}
        taken = [job.lease.job_key for share in given_out for job in share]
        assert len(taken) == len(set(taken))
        for want, share in zip(wants, given_out, strict=True):
            assert len(share) <= want.credit
            for queue, limit in want.queues:
                assert sum(job.queue_key == queue for job in share) <= limit
            assert sum(job.lease.job_key in lost for job in share) <= 1
            for queue in (1, 2, 3):
                own = [job.lease.job_key for job in share if job.queue_key == queue]
                assert own == [key for key, _, _ in waiting if key in own], "each share is in claim order"
        for queue in (1, 2, 3):
            plain = [key for key, of_queue, is_lost in waiting if of_queue == queue and not is_lost]
            assert [key for key in plain if key in taken] == plain[: sum(key in taken for key in plain)]
        free = [want.credit - len(share) for want, share in zip(wants, given_out, strict=True)]
        for queue in (1, 2, 3):
            left = [key for key, of_queue, is_lost in waiting if of_queue == queue and not is_lost and key not in taken]
            for want, share, spare in zip(wants, given_out, free, strict=True):
                limit = dict(want.queues)[queue]
                full = sum(job.queue_key == queue for job in share) >= limit
                assert not left or spare == 0 or full, "nobody stays hungry beside a job that it may have"
        assert_log_is_whole(groups)


def submit_and_lose(groups: Groups, jobs: list[tuple[int, int, bool, bool]]) -> list[tuple[int, int, bool]]:
    """Submit, and let some be lost by a worker; answers (key, queue, lost) of all that wait, in claim order."""
    ids = iter(f"{number:032x}" for number in range(100))
    for later in (False, True):
        new = [
            (NewJob(next(ids), 1, queue, priority=priority), lost)
            for queue, priority, late, lost in jobs
            if late is later
        ]
        keys: list[int] = groups.act(lambda group, new=new: [group.insert_job(job) for job, _ in new])  # type: ignore[misc]
        lost_keys = [key for key, (_, lost) in zip(keys, new, strict=True) if lost]
        if lost_keys:
            lose(groups, lost_keys)
    rows = groups.rows(
        "SELECT key, queue_key, lane FROM jobhall_jobs WHERE state = 2 ORDER BY priority_order, ready, key"
    )
    return [(key, queue, lane == 1) for key, queue, lane in rows]


def lose(groups: Groups, wanted: list[int]) -> None:
    """Claim everything, let a confirmed delivery of those be lost, and the rest return."""
    session = open_session(groups)
    want = Want(session.key, 1, 100, 5, "w", tuple((queue, 100) for queue in (1, 2, 3)))
    groups.run([claim_unit(want)])
    held = [key for (key,) in groups.rows("SELECT key FROM jobhall_jobs WHERE held_by IS NOT NULL")]

    def give_back(group: Group) -> None:
        for key in held:
            job = group.job(key)
            assert job is not None
            group.change(job, server_moves.LOSE_UNSTARTED if key in wanted else server_moves.LOSE_UNSEEN)

    groups.act(give_back, job_keys=held)


def acting(lease: Lease, step: str, digest: int) -> Act[None]:
    # By its id too: only so what an update tells of before is loaded.
    job_id = f"{lease.job_key - 1:032x}"
    return Act(lambda group: take(group, lease, step, digest), job_keys=[lease.job_key], job_ids=[job_id])


def failing(lease: Lease, step: str, digest: int, new: NewJob) -> Act[None]:
    """Do the step and much more, and raise."""

    def decide(group: Group) -> None:
        take(group, lease, step, digest)
        take(group, lease, "cancel", digest)
        group.insert_job(new)
        group.queue_key(group.namespace_key("gone"), group.job_type_key(1, "gone")[0])
        group.open_session(NewSession("gone", "t", "w", (), (), "{}", "{}", 10, 1, 1))
        raise RuntimeError("dropped")

    return Act(decide, job_keys=[lease.job_key])


def parts(plan: list[tuple[int, str, int, bool]]) -> list[list[tuple[int, str, int, bool]]]:
    cut: list[list[tuple[int, str, int, bool]]] = [[]]
    for entry in plan:
        if entry[3]:
            cut.append([])
        cut[-1].append(entry)
    return [part for part in cut if part]


def assert_log_is_whole(groups: Groups) -> None:
    """Numbers without a gap up to the counter, and revisions of each job from 1 to its own."""
    [(count, last, counter)] = groups.rows(
        "SELECT count(*), max(number), (SELECT last_event FROM jobhall_counters WHERE key = 0) FROM jobhall_events"
    )
    assert count == last == counter
    for key, revision, state in groups.rows("SELECT key, revision, state FROM jobhall_jobs"):
        log = groups.rows(
            f"SELECT revision, state, event_type FROM jobhall_events WHERE job_key = {key} ORDER BY number"
        )
        assert [entry[0] for entry in log] == list(range(1, revision + 1))
        assert log[0][1:] == (JobState.PENDING, EventType.SUBMITTED)
        assert log[-1][1] == state
