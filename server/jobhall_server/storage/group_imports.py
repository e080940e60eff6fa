"""What a commit group does with jobs from elsewhere: from then on they are as if they had been loaded."""

from __future__ import annotations

from collections.abc import Sequence

from jobhall_server.domain.job import AttemptView, JobRecord, JobView, LeaseState
from jobhall_server.hall.store import Home
from jobhall_server.hall.submits import labels_text
from jobhall_server.storage import schema_groups
from jobhall_server.storage.codec import progress_text
from jobhall_server.storage.group_details import Details


class Imports(Details):
    """The part of a group that knows jobs from elsewhere."""

    def import_job(self, job: JobView, attempts: Sequence[AttemptView], home: Home) -> JobRecord:
        assert not self._saved
        staged = self._staged
        key = self._numbers.next_key(schema_groups.LAST_JOB)
        record = _record(key, job, home)
        staged.put(staged.imported, key, (job, home))
        staged.put(staged.new_keys, job.job_id, key)
        staged.put(self._jobs, key, record)
        for attempt in attempts:
            lease = (key, attempt.fence)
            staged.put(staged.imported_attempts, lease, attempt)
            if attempt.failure is not None:
                staged.put(staged.failures, lease, attempt.failure)
            if attempt.progress is not None:
                staged.put(staged.progress, lease, progress_text(attempt.progress))
        return record


def _record(key: int, job: JobView, home: Home) -> JobRecord:
    """As it will be loaded by the next group; only which stats it counts in is not known before it is saved."""
    return JobRecord(
        key=key,
        state=job.state,
        queue_key=home.queue_key,
        namespace_key=home.namespace_key,
        fence=job.fence,
        nonce=0,
        lease=LeaseState.SPENT,
        session_key=None,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        worker_losses=job.worker_losses,
        outcome_fence=0,
        outcome_digest=0,
        item_error_count=job.item_error_count,
        revision=job.revision,
        due_at=job.due_at,
        started_at=job.started_at,
        rules=job.rules.text(),
        batch_key=home.batch_key,
        start_deadline=job.start_deadline,
        job_id=job.job_id,
        owner=job.owner,
        organization_id=job.organization_id,
        created_at=job.created_at,
        labels=labels_text(job.labels),
        access=job.access,
        unique_key=job.unique_key or None,
    )
