"""`jobhall-server serve` as an operator meets it: unconfigured, twice on one file, on a taken port, stopped."""

import re
import signal
import socket
import time

import pytest

import jobhall
from tests.support.processes import Processes, Program
from tests.support.stored import Stored
from tests.support.tools import BIN
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def refused(program: Program) -> str:
    """What a server that will not start says: in so many words, and at once."""
    assert program.wait(within=10) not in (0, None)
    assert "Traceback" not in program.output
    return program.output


def test_a_fresh_server_needs_no_configuration_and_listens_within_ten_seconds(processes: Processes) -> None:
    started_at = time.monotonic()
    server = processes.start("server", [str(BIN / "jobhall-server"), "serve"], listen="127.0.0.1:0")
    match = eventually(
        lambda: re.search(r"127\.0\.0\.1:[1-9]\d*", server.output), within=20, what="it says where it listens"
    )

    assert match
    with jobhall.Client(match[0]) as client:
        info = client.server_info()
    assert time.monotonic() - started_at <= 10
    assert info.version == jobhall.__version__
    assert info.engine == "sqlite"
    assert (processes.folder / "jobhall.db").exists()
    assert str(processes.folder / "jobhall.db") in server.output


def test_a_second_server_on_the_same_file_refuses_and_leaves_the_first_alone(processes: Processes) -> None:
    first = processes.serve()

    said = refused(processes.start_server())

    assert str(first.database) in said
    assert str(first.pid) in said
    with jobhall.Client(first.address) as client:
        client.types.register("note")
        assert client.jobs.submit("note").id


def test_a_taken_port_is_an_error_that_names_it(processes: Processes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        said = refused(processes.start_server(listen=address))

    assert address in said


def test_the_port_of_another_server_is_taken_as_well(processes: Processes) -> None:
    """gRPC would share it by SO_REUSEPORT, and each would get half of the callers."""
    first = processes.serve("first.db")

    said = refused(processes.start_server("second.db", listen=first.address))

    assert first.address in said


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once_with_a_watch_open(processes: Processes, how: signal.Signals) -> None:
    server = processes.serve()
    with jobhall.Client(server.address) as client:
        client.types.register("note")
        job = client.jobs.submit("note")
        updates = client.jobs.watch(include_snapshot=True)
        assert next(updates).cursor

        asked_at = time.monotonic()
        assert server.stop(how) == 0

    assert time.monotonic() - asked_at <= 5
    Stored(server.database).check()
    assert Stored(server.database).states().keys() == {job.id}
