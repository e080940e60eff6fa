"""The server is away, for whatever reason and however long: nothing that workers hold runs again, nothing is lost."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import jobhall
from jobhall.states import JobState
from tests.support import journal
from tests.support.evidence import executed_twice, history
from tests.support.history import check
from tests.support.processes import Processes, Server
from tests.support.stored import Stored
from tests.support.waiting import eventually

HELD = 200
WORKERS = 2
OUTAGE_SECONDS = 2.5
OUTAGE_SECONDS_LONG = 60.0
SESSION_TTL_SECONDS = 1.0
SETTINGS: dict[str, Any] = {"session_ttl_seconds": SESSION_TTL_SECONDS, "heartbeat_seconds": 0.3, "drain_seconds": 2}
RETURN_SECONDS = 15.0
"""The longest back-off of a worker, the rescue of a job, and a little."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90), pytest.mark.long_timeout(300)]


class Stage:
    """A server that may go and come back, with a client, and what runs on it."""

    def __init__(self, processes: Processes, client: jobhall.Client, server: Server, outage_seconds: float) -> None:
        self.folder = processes.folder
        self.away_at = 0.0
        self._processes = processes
        self._client = client
        self._server = server
        self._outage_seconds = outage_seconds
        self._canary = processes.work("canary", server.address)
        [self.life] = self.hold("life", jobs=1)
        # Each has room for what the other holds: what is taken for lost runs again at once.
        for number in range(WORKERS):
            processes.work(f"worker-{number}", server.address, concurrency=HELD + 1)

    @property
    def stored(self) -> Stored:
        return Stored(self._server.database)

    def hold(self, gate: str, *, jobs: int) -> list[str]:
        """So many jobs that run until the gate is opened; they all run when this returns."""
        parameters = {"gate": str(self.folder / gate)}
        job_ids = [job.id for job in self._client.jobs.submit_many([jobhall.Submission("wait", parameters)] * jobs)]
        self.all_are(JobState.RUNNING, job_ids)
        return job_ids

    def open(self, gate: str) -> None:
        (self.folder / gate).touch()

    def all_are(self, state: JobState, job_ids: list[str]) -> None:
        def all_are() -> bool:
            states = self.stored.states()
            return all(states[job_id] is state for job_id in job_ids)

        eventually(all_are, within=20, what=f"{len(job_ids)} jobs are {state.name}")

    # --- the outages ---

    def restart(self) -> None:
        """SIGTERM, and the next one after a session's time to live, but sooner than a server would call it a pause."""
        assert self._server.stop() == 0
        self._meanwhile()
        self._time_passes(1.5 * SESSION_TTL_SECONDS)
        self._serve_again()

    def crash(self) -> None:
        """SIGKILL, and the next one at once."""
        self._server.kill()
        self._meanwhile()
        self._serve_again()

    def outage(self) -> None:
        """SIGKILL, and for a long time nothing."""
        self._server.kill()
        self._meanwhile()
        self._time_passes(self._outage_seconds)
        self._serve_again()

    def standstill(self) -> None:
        """SIGSTOP: its connections stand and say nothing. When it goes on it must not believe that others were away."""
        self._server.pause()
        self._meanwhile()
        self._time_passes(self._outage_seconds)
        self._server.go_on()

    def standby(self) -> None:
        """SIGKILL, while another server waits for that."""
        standby = self._processes.start_server(listen=self._server.address, wait=True, **SETTINGS)
        standby.says("standing_by")
        self._server.kill()
        self._meanwhile()
        self._processes.await_ready(standby)
        self._server = standby

    def _meanwhile(self) -> None:
        """What nobody tells a server: a worker dies, and half of the tasks of the others end."""
        self.away_at = time.monotonic()
        self._canary.kill()
        self.open("during")

    def _serve_again(self) -> None:
        self._server = self._processes.serve(listen=self._server.address, **SETTINGS)

    def _time_passes(self, seconds: float) -> None:
        over_at = time.monotonic() + seconds
        eventually(lambda: time.monotonic() >= over_at, within=seconds + 1, what="the outage is over")


@pytest.fixture
def stage(processes: Processes, long: bool) -> Iterator[Stage]:
    server = processes.serve(**SETTINGS)
    with jobhall.Client(server.address) as client:
        client.types.register("wait")
        yield Stage(processes, client, server, OUTAGE_SECONDS_LONG if long else OUTAGE_SECONDS)


KINDS = [Stage.restart, Stage.crash, Stage.outage, Stage.standstill, Stage.standby]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_outage_of_the_server_re_executes_nothing_and_loses_no_result(
    stage: Stage, kind: Callable[[Stage], None], figures: Callable[..., None]
) -> None:
    """200 tasks run; while the server is away half of them end, and the others only after it was back for a while.

    How long that must be, another job tells: its worker dies after the server, and once the next server has given that
    job to somebody else, whatever session would be taken for dead was taken for dead.
    """
    during, after = (stage.hold(gate, jobs=HELD // 2) for gate in ("during", "after"))

    kind(stage)
    back_at = time.monotonic()
    eventually(
        lambda: len(journal.starts(stage.folder, stage.life)) == 2,
        within=RETURN_SECONDS,
        what="the job of the dead worker starts again",
    )
    rescued_at = journal.starts(stage.folder, stage.life)[1].at
    stage.open("after")
    stage.all_are(JobState.COMPLETED, during + after)
    stage.open("life")
    stage.all_are(JobState.COMPLETED, [stage.life])

    executions = journal.executions(stage.folder)
    again = {job_id: executions[job_id] for job_id in during + after if executions[job_id] != 1}
    figures(
        tasks=HELD,
        executed_again=len(again),
        server_away=f"{back_at - stage.away_at:.1f} s",
        dead_worker_replaced_after=f"{rescued_at - back_at:.1f} s",
    )
    assert not again
    # The dead worker as well has its whole time to live from the server's return on; a little is the look at the file.
    assert rescued_at - back_at > SESSION_TTL_SECONDS / 2
    assert executed_twice(stage.folder) == []
    losses = stage.stored.rows("SELECT attempt, worker_losses, count(*) FROM jobhall_jobs GROUP BY 1, 2 ORDER BY 1")
    assert losses == [(1, 0, HELD), (2, 1, 1)]
    stage.stored.check()
    check(history(stage.stored, stage.folder))
