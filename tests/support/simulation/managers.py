"""Clients that look after many jobs at once: by filter, and by batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from uuid import UUID

from jobhall.states import CompletionPolicy, JobState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.batch import BatchUpdate
from jobhall_server.domain.job import Payload
from jobhall_server.hall.batch_submissions import BatchSubmission
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.views import JobFilter
from tests.support.simulation.clients import SimulatedClient, id_of
from tests.support.simulation.completions import read_completion

_WHOLE = "the whole batch is unwanted"
_DEEDS = (
    "hold back",
    "hand out",
    "hold back and hand out",
    "close",
    "cancel",
    "delete",
    "retry all",
    "purge",
    "cancel some",
)


class SimulatedManager:
    """Draws what it does from its own chance, and does it as that client."""

    def __init__(self, client: SimulatedClient, chance: Random) -> None:
        self._client = client
        self._chance = chance
        self._batches: list[str] = []
        self._over = False

    def create_batch(self, jobs: Sequence[int]) -> None:
        """With those jobs, by their numbers."""
        chance = self._chance
        batch_id = batch_id_of(len(self._batches))
        self._batches.append(batch_id)
        completed = chance.random() < 0.7
        submission = BatchSubmission(
            "default",
            [Submission("work", parameters=Payload("{}"), job_id=id_of(number), digest=number + 1) for number in jobs],
            batch_id=batch_id,
            closed=chance.random() < 0.6,
            active=chance.random() < 0.8,
            completion=read_completion(batch_id) if completed else None,
            completion_job=batch_id if completed else None,
            completion_policy=chance.choice([policy for policy in CompletionPolicy if policy]),
            digest=len(self._batches) + 1,
        )
        self._client.call(lambda hall: hall.batches.create(ANYBODY, submission), then=self._if_late(batch_id))

    def _if_late(self, batch_id: str) -> Callable[[], None]:
        """What was asked before the end and is done after it is not the last word."""
        began_over = self._over

        def done() -> None:
            if self._over and not began_over:
                self._let_go(batch_id)

        return done

    def meddle(self) -> str:
        """Do something to a batch, or to all jobs of some kind; answers what."""
        chance = self._chance
        what = chance.choice(_DEEDS)
        if what == "retry all":
            failed = JobFilter(states=frozenset({JobState.FAILED, JobState.CANCELLED}))
            self._client.call(lambda hall: hall.management.retry_jobs(ANYBODY, failed, jobs_max=1000, dry_run=False))
        elif what == "purge":
            self._client.call(
                lambda hall: hall.management.purge_jobs(
                    ANYBODY, JobFilter(), min_age_us=3_000_000, jobs_max=1000, dry_run=False
                )
            )
        elif what == "cancel some":
            some = JobFilter(labels=(("team", "red"),))
            self._client.call(
                lambda hall: hall.management.cancel_jobs(ANYBODY, some, reason="unwanted", jobs_max=3, dry_run=False)
            )
        elif self._batches:
            batch_id = chance.choice(self._batches)
            for part in what.split(" and "):
                self._change(batch_id, part)
        return what

    def let_go(self) -> None:
        """At the end every batch is handed out and closed, so that it can end."""
        self._over = True
        for batch_id in self._batches:
            self._let_go(batch_id)

    def _let_go(self, batch_id: str) -> None:
        self._change(batch_id, "hand out")
        self._change(batch_id, "close")

    def _change(self, batch_id: str, what: str) -> None:
        then = self._if_late(batch_id)
        if what == "cancel":
            self._client.call(
                lambda hall: hall.batches.cancel(ANYBODY, batch_id, reason=_WHOLE, wait_seconds=1.0), then
            )
        elif what == "delete":
            self._client.call(lambda hall: hall.batches.delete(ANYBODY, batch_id, wait_seconds=1.0), then)
        else:
            update = BatchUpdate(
                frozenset({"closed" if what == "close" else "active"}), closed=True, active=what == "hand out"
            )
            self._client.call(lambda hall: hall.batches.update(ANYBODY, batch_id, update, wait_seconds=1.0), then)


def batch_id_of(number: int) -> str:
    """The id of the batch of that number."""
    return str(UUID(int=(7 << 76) | (2 << 62) | (1 << 32) | number))
