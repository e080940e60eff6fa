"""Submits a detection, shows how it goes, and prints the job with its result."""

from __future__ import annotations

import argparse
import json
import sys

import jobhall
from examples.detection.finding import ENTITY_TYPES
from examples.detection.models import DetectionJob, DetectionParameters, submit_detection
from examples.detection.records import to_dict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("resource_id")
    parser.add_argument("--entity-types", nargs="+", default=list(ENTITY_TYPES), metavar="TYPE")
    parser.add_argument("--max-retries", type=int, default=3)
    options = parser.parse_args()
    parameters = DetectionParameters(resource_id=options.resource_id, entity_types=tuple(options.entity_types))

    with jobhall.Client() as client:
        submitted = submit_detection(client, parameters, max_retries=options.max_retries)
        show_progress(client, submitted.id)
        job = DetectionJob.read(client.jobs.get_job(submitted.id))
    print(json.dumps(to_dict(job), indent=2))
    return 0 if job.status == "complete" else 1


def show_progress(client: jobhall.Client, job_id: str) -> None:
    """Prints what a job says of itself until it ends."""
    for update in client.jobs.watch(job_ids=[job_id], include_snapshot=True, stop_when_terminal=True):
        for event in update.events:
            said = event.progress.message if event.progress else event.state.name.lower()
            print(f"{event.event_type.name.lower():<10} {said}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
