"""A server, a library and the workers of the examples of detection and generation."""

import shutil
from contextlib import suppress

import jobhall
from examples.detection.library import Library
from examples.detection.models import DetectionParameters, submit_detection
from tests.support.documents import BIN
from tests.support.processes import ROOT, START_SECONDS, Processes, Program

SHIPPED = ROOT / "examples" / "detection" / "data"
STUDY = "a-study-in-scarlet"
ALL_TYPES = ("Person", "Organization", "Place")


class LibraryHall:
    """Everything in the folder of a test; the library is not there before `ship`."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._address = processes.serve(session_ttl_seconds=1.0, heartbeat_seconds=0.25).address
        self.library = Library(processes.folder / "library")
        self.client = jobhall.Client(self._address)

    def ship(self) -> None:
        """Puts the library of the example there."""
        shutil.copytree(SHIPPED, self.library.folder)

    def work(self, example: str, name: str = "worker", *, pace_ms: int = 0) -> Program:
        """The example's worker as its readme starts it."""
        variables = [f"LIBRARY={self.library.folder}", f"PACE_MS={pace_ms}", f"WORKER_NAME={name}"]
        run = [str(BIN / "jobhall"), "worker", "run", f"examples.{example}.worker:worker"]
        worker = self._processes.start(f"{example}-{name}", ["env", *variables, *run], address=self._address)
        worker.says("connected")
        return worker

    def detect(self, *entity_types: str, resource_id: str = STUDY, max_retries: int = 3) -> str:
        """Submits a detection of these types, or of all."""
        parameters = DetectionParameters(resource_id=resource_id, entity_types=entity_types or ALL_TYPES)
        return submit_detection(self.client, parameters, max_retries=max_retries).id

    def ended(self, job_id: str) -> jobhall.Job:
        """The job once it has ended, well or badly."""
        with suppress(jobhall.JobFailedError):
            self.client.jobs.wait_for_job(job_id, timeout=START_SECONDS)
        return self.client.jobs.get_job(job_id, include_errors=True)
