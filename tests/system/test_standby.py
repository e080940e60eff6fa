"""A second server with `--wait`: it serves nothing while the first one does, and everything a moment after its end."""

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import jobhall
from jobhall.states import JobState
from tests.support.ports import free_port
from tests.support.processes import Processes, Server
from tests.support.waiting import eventually

TAKEOVER_SECONDS = 1.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def standby(processes: Processes, listen: str) -> Server:
    """A second server on the same file, once it says that it waits."""
    server = processes.start_server(listen=listen, wait=True)
    server.says("standing_by")
    return server


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_a_standby_takes_over_within_a_second_at_the_same_address(
    processes: Processes, tmp_path: Path, how: signal.Signals, figures: Callable[..., None]
) -> None:
    """Both are told the same address, so that a client needs to know of one only; it is free when the first is gone."""
    first = processes.serve(listen=f"127.0.0.1:{free_port()}", drain_seconds=2)
    second = standby(processes, first.address)
    with jobhall.Client(first.address) as client:
        client.types.register("note")
        job = client.jobs.submit("note")
        assert str(first.pid) in second.output

        if how is signal.SIGKILL:
            first.kill()
        else:
            assert first.stop(how) == 0
        ended_at = time.monotonic()
        eventually(lambda: listens(first.address), within=TAKEOVER_SECONDS, what="the standby listens")
        seconds = time.monotonic() - ended_at

        assert client.jobs.get_job(job.id).state is JobState.PENDING
        processes.await_ready(second)
        processes.work("worker", second.address)
        assert client.jobs.wait_for_job(job.id, timeout=20).state is JobState.COMPLETED
    figures(ended_by=how.name, seconds_until_the_standby_listens=f"{seconds:.2f}")
    assert second.output.count("standing_by") == 1


def test_nothing_is_served_while_it_waits_and_sigterm_ends_it_at_once(processes: Processes) -> None:
    first = processes.serve()
    own = f"127.0.0.1:{free_port()}"
    second = standby(processes, own)

    assert not listens(own)
    assert not second.ready
    began_at = time.monotonic()
    assert second.stop(signal.SIGTERM, within=5) == 0
    assert time.monotonic() - began_at < 2
    assert "jobhall-server: " not in second.output

    with jobhall.Client(first.address) as client:
        assert client.server_info().engine == "sqlite"


def test_of_two_standbys_one_takes_over_and_the_other_waits_for_that_one(processes: Processes) -> None:
    first = processes.serve()
    others = [standby(processes, f"127.0.0.1:{free_port()}") for _ in range(2)]

    first.kill()
    [taker] = eventually(lambda: [other for other in others if other.ready], within=10, what="one of them serves")
    [waiter] = [other for other in others if other is not taker]
    waiter.says(f'"served_by_pid": {taker.pid}')
    assert not waiter.ready

    assert taker.stop() == 0
    eventually(lambda: waiter.ready, within=10, what="the other one serves")
