"""A worker dies in mid-job: the job runs again elsewhere, in time, and what it left behind counts for nothing."""

from collections.abc import Callable

import pytest

from jobhall.states import EventType, JobState
from tests.support import journal
from tests.support.processes import Processes
from tests.support.scene import Scene

TTL_SECONDS = 1.0
RESCUE_SECONDS = TTL_SECONDS + 2
"""Within this time of a worker's detachment its job is another's."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def test_the_job_of_a_killed_worker_runs_on_another_in_time(processes: Processes, figures: Callable[..., None]) -> None:
    with Scene(processes, session_ttl_seconds=TTL_SECONDS) as scene:
        victim = scene.work("victim")
        job_id = scene.hold()
        _ = scene.work("survivor")

        killed_at = victim.kill()
        scene.started(job_id, times=2)
        scene.open()
        scene.is_in(JobState.COMPLETED, job_id)

        first, second = journal.starts(scene.folder, job_id)
        figures(runs_again_after=f"{second.at - killed_at:.1f} s")
        assert (first.worker, second.worker) == ("victim", "survivor")
        assert second.at - killed_at <= RESCUE_SECONDS
        assert second.fence > first.fence
        assert [end.worker for end in journal.ends(scene.folder, job_id)] == ["survivor"]
        assert scene.counted(job_id) == (2, 1)
        assert scene.client.jobs.get_job(job_id).result == {"worker": "survivor", "fence": second.fence}
        assert scene.stored.events_of(job_id) == [
            EventType.SUBMITTED,
            *(EventType.CLAIMED, EventType.RUNNING, EventType.READY),
            *(EventType.CLAIMED, EventType.RUNNING, EventType.COMPLETED),
        ]
        scene.judge()
