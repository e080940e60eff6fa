"""The proxy of the network tests does what it says: each kind of trouble, seen from both sides of a connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.proxy import Proxy, Way
from tests.support.waiting import eventually

SILENCE_SECONDS = 0.2


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.got = b""
        self.ends: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(100):
                    self.got += data
                    connection.sendall(data)
            except ConnectionError:
                self.ends.append("reset")
            else:
                self.ends.append("closed")


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.address) as proxy:
        yield proxy


def connected(proxy: Proxy) -> socket.socket:
    host, _, port = proxy.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def says(client: socket.socket, word: bytes) -> bytes:
    client.sendall(word)
    return client.recv(100)


def is_silent(client: socket.socket) -> bool:
    client.settimeout(SILENCE_SECONDS)
    try:
        heard = client.recv(100)
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)
    raise AssertionError(f"heard {heard!r}")


def test_it_passes_bytes_on_and_the_end_of_them_too(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as client:
        assert says(client, b"one") == b"one"

    eventually(lambda: echo.ends == ["closed"], within=5, what="the server sees the end")
    eventually(lambda: proxy.open_count == 0, within=5, what="the proxy forgets the connection")


def test_a_cut_resets_both_sides_and_refuses_until_it_is_healed(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as client:
        assert says(client, b"one") == b"one"

        proxy.cut()

        with pytest.raises(ConnectionResetError):
            client.recv(100)
        eventually(lambda: echo.ends == ["reset"], within=5, what="the server sees a reset")
    with pytest.raises(ConnectionError), connected(proxy) as client:
        says(client, b"two")
    proxy.heal()
    with connected(proxy) as client:
        assert says(client, b"four") == b"four"


def test_what_is_held_arrives_when_it_is_healed(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as client:
        assert says(client, b"one") == b"one"

        proxy.hold()
        client.sendall(b"two")

        assert is_silent(client)
        assert echo.got == b"one"
        proxy.heal()
        assert client.recv(100) == b"two"


def test_what_is_held_of_old_connections_does_not_hold_up_new_ones(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as old:
        assert says(old, b"one") == b"one"
        proxy.hold(frozenset({Way.TO_SERVER}), new=False)
        old.sendall(b"late")

        with connected(proxy) as new:
            assert says(new, b"two") == b"two"

        assert b"late" not in echo.got
        proxy.heal()
        assert old.recv(100) == b"late"


def test_a_deaf_client_still_speaks(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as client:
        assert says(client, b"one") == b"one"

        proxy.swallow(frozenset({Way.TO_CLIENT}))
        client.sendall(b"two")

        eventually(lambda: echo.got == b"onetwo", within=5, what="the server hears it")
        assert is_silent(client)
        proxy.heal()
        client.sendall(b"three")
        assert is_silent(client)
    with connected(proxy) as client:
        assert says(client, b"four") == b"four"


def test_a_black_hole_takes_new_connections_too(proxy: Proxy, echo: Echo) -> None:
    proxy.swallow()

    with connected(proxy) as client:
        client.sendall(b"one")

        assert is_silent(client)
        assert echo.got == b""


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_half_open_connection_is_gone_for_one_side_only(proxy: Proxy, echo: Echo, side: str) -> None:
    with connected(proxy) as client:
        assert says(client, b"one") == b"one"

        if side == "server":
            proxy.forget_server_side()

            eventually(lambda: echo.ends == ["reset"], within=5, what="the server sees a reset")
            client.sendall(b"two")
            assert is_silent(client)
        else:
            proxy.forget_client_side()

            with pytest.raises(ConnectionResetError):
                client.recv(100)
            assert echo.ends == []
        with connected(proxy) as other:
            assert says(other, b"three") == b"three"


def test_delayed_bytes_arrive_later(proxy: Proxy, echo: Echo) -> None:
    with connected(proxy) as client:
        proxy.delay_seconds = 2 * SILENCE_SECONDS
        client.sendall(b"one")

        assert is_silent(client)
        assert client.recv(100) == b"one"
