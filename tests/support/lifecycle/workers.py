"""The part of the lifecycle machine in which workers are given tasks and tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from jobhall_server.domain.job import Lease
from jobhall_server.hall.claims import _Claim
from jobhall_server.hall.leases import ReturnTasks
from jobhall_server.hall.reports import Judged, JudgeReports
from jobhall_server.hall.store import Claimed, Want
from jobhall_server.hall.unary_units import ClaimJobs
from tests.support.lifecycle.sessions import CHANCES, Sessions, Worker
from tests.support.lifecycle.words import Answer, Word, digest_of, told_by
from tests.support.planned_units import taken

ACCEPT_US = 3
OFTEN = (Word.FAILED, Word.FAILED_AGAIN, Word.RELEASED, Word.RELEASED, Word.RELEASED_NOT_MINE)
WORDS = st.sampled_from((*Word, *OFTEN, Word.PROGRESS))


class Workers(Sessions):
    """With sessions come tasks, and words about them on tokens old and new."""

    # --- being given work ---

    @precondition(lambda self: self.workers)
    @rule(
        data=st.data(),
        credit=st.integers(1, 5),
        limits=st.tuples(st.integers(0, 4), st.integers(1, 4)),
        other_first=st.booleans(),
        started=st.integers(0, 3),
        words=st.lists(WORDS, max_size=2),
    )
    def claim(
        self,
        data: st.DataObject,
        credit: int,
        limits: tuple[int, int],
        started: int,
        words: list[Word],
        *,
        other_first: bool,
    ) -> None:
        """Whatever else is in the group, the claim comes after it. The worker starts the first few tasks at once, and
        perhaps has more to say.
        """
        worker = data.draw(st.sampled_from([each for each in self.workers if each.hungry] or self.workers))
        queues = tuple(zip(self.queues, limits, strict=True))[:: -1 if other_first else 1]
        named = tuple(data.draw(st.lists(st.sampled_from([*self.model.keys] or [0]), max_size=3, unique=True)))
        only = named if worker.unary and data.draw(st.booleans()) else ()
        self.nonce += 1
        accept_us = ACCEPT_US if worker.unary else None
        want = Want(worker.key, worker.epoch, credit, self.nonce, worker.new.worker_name, queues, accept_us, only)
        won: list[Any] = []
        accept_by = None if accept_us is None else self.now + accept_us
        hungry = worker.hungry and data.draw(st.integers(0, 7)) < 7
        if not hungry and worker.hungry:
            # Of a stream, or an answer, that is not the newest any more.
            want = want._replace(epoch=worker.epoch - 1)
        expected = (
            self.model.claim(worker.key, credit, queues, now=self.now, accept_by=accept_by, only=only) if hungry else []
        )

        self.store.plan(ClaimJobs(want) if only else _Claim([want]), won.append)

        claimed: list[Claimed] = won[0] if only else won[0][0]
        assert [(job.job_id, job.attempt, job.lease.fence, size_of(job)) for job in claimed] == [
            (job.job_id, job.attempt + 1, job.fence, job.checkpoint_bytes) for job in expected
        ]
        for model, job in zip(expected, claimed, strict=True):
            self.model.keys[job.lease.job_key], model.newest = model, job.lease
            self.leases.append(job.lease)
        begun = [job.lease for job in claimed[:started]]
        said = [(lease, word, 2) for lease in begun for word in (Word.ACCEPTED, *words)]
        self.report(said, worker, alone=False, chance=data.draw(CHANCES))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), alone=st.booleans())
    def deliveries_go_back(self, data: st.DataObject, *, alone: bool) -> None:
        some = st.sampled_from(self.model.leased() or self.leases) | st.sampled_from(self.leases)
        late = data.draw(st.lists(some, min_size=1, max_size=3))
        self.model.give_back(late, self.now)
        self.store.plan(ReturnTasks(late), taken, alone=alone)

    # --- reporting ---

    @precondition(lambda self: self.model.leased() and self.workers)
    @rule(data=st.data(), words=st.lists(WORDS, min_size=1, max_size=3), alone=st.booleans())
    def a_worker_tells_of_its_task(self, data: st.DataObject, words: list[Word], *, alone: bool) -> None:
        """It holds the task, or did until its session was lost."""
        lease = data.draw(st.sampled_from(self.model.leased()))
        holder = self.model.keys[lease.job_key].session
        worker = next((each for each in self.workers if each.key == holder), self.workers[0])
        self.report([(lease, word, 2) for word in words], worker, alone=alone, chance=data.draw(CHANCES))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), alone=st.booleans())
    def workers_tell_anything(self, data: st.DataObject, *, alone: bool) -> None:
        """Whatever they say, in whatever order, on tokens old and new, with a session or without one."""
        said = st.tuples(st.sampled_from(self.leases), WORDS, st.integers(2, 3))
        worker = data.draw(st.sampled_from([None, *self.workers]))
        self.report(data.draw(st.lists(said, min_size=1, max_size=4)), worker, alone=alone, chance=data.draw(CHANCES))

    def report(
        self, said: Sequence[tuple[Lease, Word, int]], worker: Worker | None, *, alone: bool, chance: float = 0.0
    ) -> None:
        session = None if worker is None else worker.key
        reports = [told_by(word, seq, lease, variant) for seq, (lease, word, variant) in enumerate(said, 1)]
        answers = [
            self.model.report(
                lease,
                word,
                digest_of(word, variant),
                self.now,
                chance=chance,
                session=session,
                variant=variant,
            )
            for lease, word, variant in said
        ]
        refused = {place: answer.value for place, answer in enumerate(answers) if answer is not Answer.OK}

        def check(judged: Judged) -> None:
            assert {place: error.reason for place, error in judged.refused.items()} == refused

        self.store.plan(JudgeReports(reports, chance=chance, session_key=session), check, alone=alone)


def size_of(claimed: Claimed) -> int | None:
    """Of the checkpoint that is handed to the next attempt."""
    return None if claimed.checkpoint is None else len(claimed.checkpoint.content)
