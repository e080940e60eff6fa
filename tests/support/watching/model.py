"""What a watcher takes the jobs to be, by its snapshot and what it was told after it, against what they are."""

from __future__ import annotations

from collections.abc import Sequence

from jobhall.states import EventType, JobState
from tests.support.watching.oracle import Entry, Sight, expected
from tests.support.watching.watchers import CutWatcher

GONE = frozenset({EventType.DELETED, EventType.LEFT})


def check_model(watcher: CutWatcher, log: Sequence[Entry], sight: Sight) -> None:
    """AssertionError where its model is not how the log left the jobs; of a watcher of all types that began with a
    snapshot.
    """
    model = {job_id: (job.revision, JobState(job.state)) for job_id, job in watcher.jobs.items()}
    for told in watcher.told:
        if told.event_type in GONE:
            model.pop(told.job_id, None)
        elif told.revision > model.get(told.job_id, (0, None))[0]:
            model[told.job_id] = (told.revision, told.state)
    last = {told.job_id: (number, told) for number, told in log}
    used_again = {
        told.job_id for _, told in log if told.event_type is EventType.DELETED and last[told.job_id][1] != told
    }
    for job_id, (number, told) in last.items():
        if job_id in used_again:
            continue  # Its id is another job's by now, whose revisions began anew.
        now = told._replace(event_type=EventType.READY, labels_before=None)
        matches = bool(expected([Entry(number, now)], watcher.asked, sight))
        over_before = number <= watcher.first_number and told.state.terminal and not watcher.asked.job_ids
        if told.event_type is EventType.DELETED:
            assert job_id not in model, f"{told} to {watcher.asked}"
        elif matches and not over_before:
            assert model.get(job_id) == (told.revision, told.state), f"{model.get(job_id)} of {told} to {watcher.asked}"
        elif not matches:
            assert job_id not in model, f"{told} to {watcher.asked}"
