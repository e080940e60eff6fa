"""The worker's health for probes: `GET /healthz` answers 200 while tasks can come, else 503 and why in one line."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Final

from jobhall.errors import JobhallError
from jobhall.limits import PORT_MAX

_log = logging.getLogger("jobhall.worker")
PATH: Final = "/healthz"


class HealthEndpoint:
    """Answers one probe after the other, in a thread of its own; bound when made, else JobhallError."""

    def __init__(self, listen: str, unready: Callable[[], str]) -> None:
        address = _host_and_port(listen)
        try:
            self._server = _server(address, unready)
        except OSError as error:
            raise JobhallError(f"health cannot be answered at {listen}: {error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="jobhall-health", daemon=True)
        self._thread.start()
        _log.info("health is answered at http://%s%s", self.address, PATH)

    @property
    def address(self) -> str:
        """Where it listens, the port chosen where 0 was asked for."""
        host, port = str(self._server.server_address[0]), self._server.server_address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _server(address: tuple[str, int], unready: Callable[[], str]) -> socketserver.TCPServer:
    class Answer(BaseHTTPRequestHandler):
        timeout = 2.0
        """For a client that connects and says nothing; the next one waits for it."""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._say(404, f"there is {PATH} and nothing else")
                return
            why = unready()
            self._say(503 if why else 200, why or "ok")

        def _say(self, status: int, line: str) -> None:
            body = f"{line}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it that
            """A probe every second is no news."""

    class Server(socketserver.TCPServer):
        allow_reuse_address = True
        address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET

        def handle_error(self, request: object, client_address: object) -> None:
            """A prober that hung up is no news either."""

    return Server(address, Answer)


def _host_and_port(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not (host and port.isdecimal() and int(port) <= PORT_MAX):
        raise JobhallError(f"health_listen is {listen!r}; it is HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)
