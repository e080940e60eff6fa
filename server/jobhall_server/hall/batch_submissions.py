"""A batch as a client asks for it, checked."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from jobhall.errors import FieldInvalidError
from jobhall.limits import BATCH_NAME_BYTES_MAX, BATCH_SUBMIT_MAX
from jobhall.states import CompletionPolicy
from jobhall_server.domain.access import Principal
from jobhall_server.domain.batch import NewBatch
from jobhall_server.hall import checks
from jobhall_server.hall.submits import Submission

_FORM_BITS = 0xF << 76 | 0x3 << 62
_FORM_OF_UUID7 = 0x7 << 76 | 0x2 << 62
"""Version 7, and the variant of RFC 9562."""


@dataclass(frozen=True, slots=True)
class BatchSubmission:
    """A batch as a client asks for it. `digest` tells the request from others; 0 with no `batch_id`, where the server
    chooses one. `completion` is what the text `completion_job` says.
    """

    namespace: str
    jobs: Sequence[Submission] = ()
    batch_id: str = ""
    name: str = ""
    closed: bool = False
    active: bool = True
    completion: Submission | None = None
    completion_job: str | None = None
    completion_policy: CompletionPolicy = CompletionPolicy.ALL_COMPLETED
    access: str | None = None
    digest: int = 0

    def check(self) -> None:
        """FieldInvalidError names the first field that is out of bounds; those of its jobs aside."""
        checks.check_text(self.name, BATCH_NAME_BYTES_MAX, "name")
        checks.check_count(len(self.jobs), BATCH_SUBMIT_MAX, "jobs")
        for submission in (*self.jobs, *((self.completion,) if self.completion else ())):
            if submission.batch_id:
                raise FieldInvalidError(f"{submission.field}.batch_id", "is given by the batch; leave it empty")
        if self.completion is not None:
            check_completion(self.completion)

    def members(self, batch_id: str) -> list[Submission]:
        """Its jobs, each with an id. With an id that the client chose they have the same ids whenever it is sent."""
        within = uuid.UUID(batch_id)
        return [
            submission if submission.job_id else submission._replace(job_id=_member_id(within, place))
            for place, submission in enumerate(self.jobs)
        ]

    def new_batch(self, principal: Principal, batch_id: str, namespace_key: int) -> NewBatch:
        """The batch to be written for it."""
        return NewBatch(
            batch_id=batch_id,
            namespace_key=namespace_key,
            namespace=self.namespace,
            name=self.name,
            closed=self.closed,
            active=self.active,
            completion_policy=self.completion_policy,
            completion_job=self.completion_job,
            owner=principal.subject,
            organization_id=principal.organization_id,
            created_by=principal.display_name,
            access=self.access,
            request_digest=self.digest,
        )


def _member_id(batch_id: uuid.UUID, place: int) -> str:
    """The id of a member that has none of its own: always the same, and like any UUIDv7 it begins with a time."""
    hashed = hashlib.blake2b(batch_id.bytes + place.to_bytes(4, "big"), digest_size=10).digest()
    bits = int.from_bytes(batch_id.bytes[:6] + hashed, "big")
    return str(uuid.UUID(int=bits & ~_FORM_BITS | _FORM_OF_UUID7))


def check_completion(completion: Submission) -> None:
    """FieldInvalidError for what no job can have that is submitted nobody knows when."""
    if completion.batch_id:
        raise FieldInvalidError(f"{completion.field}.batch_id", "is left empty: a completion job is in no batch")
    if completion.start_deadline is not None:
        fault = "is left empty: nobody knows when the batch will be done"
        raise FieldInvalidError(f"{completion.field}.start_deadline", fault)
