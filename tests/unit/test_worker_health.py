"""The endpoint for probes: what it answers, where it listens, and that nobody can keep it from the next one."""

import http.client
import socket
from collections.abc import Callable, Iterator

import pytest

from jobhall.errors import JobhallError
from jobhall.worker.health import HealthEndpoint
from jobhall.worker.worker import Worker


@pytest.fixture
def serve() -> Iterator[Callable[[str], str]]:
    """Serves that reason for not being ready; the address."""
    endpoints = []

    def serve(unready: str) -> str:
        endpoints.append(HealthEndpoint("127.0.0.1:0", lambda: unready))
        return endpoints[-1].address

    yield serve
    for endpoint in endpoints:
        endpoint.close()


def get(address: str, path: str = "/healthz") -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_healthy_worker_answers_200_and_another_one_503_with_the_reason(serve: Callable[[str], str]) -> None:
    assert get(serve("")) == (200, "ok\n")
    assert get(serve("draining")) == (503, "draining\n")


def test_there_is_nothing_else_to_see(serve: Callable[[str], str]) -> None:
    status, line = get(serve(""), "/")

    assert status == 404
    assert "/healthz" in line


def test_a_client_that_says_nothing_keeps_the_next_one_waiting_for_seconds_only(serve: Callable[[str], str]) -> None:
    address = serve("")
    host, _, port = address.rpartition(":")

    with socket.create_connection((host, int(port))):
        assert get(address) == (200, "ok\n")


@pytest.mark.parametrize("listen", ["8080", "localhost:http", ":8080", "127.0.0.1:65536", ""])
def test_a_place_that_is_none_is_refused_with_an_example(listen: str) -> None:
    with pytest.raises(JobhallError, match=r"HOST:PORT, such as 127\.0\.0\.1:8080"):
        HealthEndpoint(listen, lambda: "")


def test_a_place_that_is_taken_is_named(serve: Callable[[str], str]) -> None:
    address = serve("")

    with pytest.raises(JobhallError, match=f"health cannot be answered at {address}"):
        HealthEndpoint(address, lambda: "")


def test_a_worker_that_was_not_started_is_not_healthy() -> None:
    worker = Worker()

    assert (worker.healthy, worker.health, worker.health_address) == (False, "not started", None)


def test_a_worker_without_a_server_says_that_it_is_not_connected_and_answers_until_it_is_stopped() -> None:
    worker = Worker("127.0.0.1:1", health_listen="127.0.0.1:0")
    worker.handler("noop")(lambda _: None)

    with worker:
        answer = get(worker.health_address or "")

    assert answer == (503, "not connected\n")
    assert worker.health_address is None
    assert worker.health == "stopped"
