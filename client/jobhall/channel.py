"""Where the server is and how a channel to it is set up; shared by both clients and the worker."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final

from jobhall.errors import FieldInvalidError
from jobhall.limits import ADDRESS_DEFAULT, KEEPALIVE_INTERVAL, MESSAGE_BYTES_RECEIVED_MAX, PORT_MAX

ADDRESS_VARIABLE: Final = "JOBHALL_ADDRESS"
TOKEN_VARIABLE: Final = "JOBHALL_TOKEN"  # noqa: S105 - the name of a variable
_SECURE_SCHEMES = ("grpcs://", "https://")
_PLAIN_SCHEMES = ("grpc://", "http://")
_GRPC_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")
"""Names that gRPC itself knows how to look up."""
_HOST_ALONE = re.compile(r"[\w.-]+|\[[\w.:%]+\]")
_HOST_AND_PORT = re.compile(r"([\w.-]*|\[.*\]):(\d+)", re.ASCII)

CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_RECEIVED_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_RECEIVED_MAX),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_INTERVAL.total_seconds() * 1000)),
    ("grpc.keepalive_timeout_ms", 10_000),
    # What counts for a ping that is under way already, of whichever kind; the default of 60 s would outlast the other.
    ("grpc.http2.ping_timeout_ms", 10_000),
    # A silent watch is a call without data; without this its pings stop after two.
    ("grpc.http2.max_pings_without_data", 0),
    # After a failed connect the channel fails calls at once for this long; the default of 1 to 120 s would
    # outlast a restart of the server by far. The pace of calls is the retry policy's business.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's address, whether to speak TLS to it, and the token to show it."""

    address: str
    secure: bool = False
    token: str = field(default="", repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries. As metadata, since call credentials do not work on a channel without TLS."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def resolve_endpoint(address: str | None = None, token: str | None = None, api_key: str | None = None) -> Endpoint:
    """The endpoint given, else that of JOBHALL_ADDRESS and JOBHALL_TOKEN, else the local default.

    An address is `host:port`, with `grpc://` or `http://` before it or not; `grpcs://` or `https://` means TLS. Without
    TLS a host alone is asked at the default port. An `api_key` is sent as a token is, and stands in its place.
    FieldInvalidError where no call could ever be made with them.
    """
    if token is not None and api_key is not None:
        raise FieldInvalidError("api_key", "it is sent in the place of a token; give one of the two")
    given = token if api_key is None else api_key
    # A file's last newline would be no header.
    shown = (os.environ.get(TOKEN_VARIABLE, "") if given is None else given).strip()
    if not (shown.isascii() and shown.isprintable()):  # gRPC would write of it to stderr by itself.
        source = TOKEN_VARIABLE if given is None else "token" if api_key is None else "api_key"
        raise FieldInvalidError(source, "has characters that no header can carry")
    text = (address or os.environ.get(ADDRESS_VARIABLE) or ADDRESS_DEFAULT).strip().rstrip("/")
    secure = text.startswith(_SECURE_SCHEMES)
    for scheme in (*_SECURE_SCHEMES, *_PLAIN_SCHEMES):
        text = text.removeprefix(scheme)
    if not secure and _HOST_ALONE.fullmatch(text):
        text = f"{text}:{ADDRESS_DEFAULT.rpartition(':')[2]}"
    if not _is_address(text, secure=secure):
        source = "address" if address else ADDRESS_VARIABLE
        raise FieldInvalidError(source, f"{text!r} is none; write host:port, such as {ADDRESS_DEFAULT}")
    return Endpoint(text, secure, shown)


def _is_address(text: str, *, secure: bool) -> bool:
    # gRPC would look for a path or a user in the name of the host, and take the port modulo 65536.
    if found := _HOST_AND_PORT.fullmatch(text):
        return bool(found[1]) and 0 < int(found[2]) <= PORT_MAX
    return text.startswith(_GRPC_SCHEMES) or (secure and _HOST_ALONE.fullmatch(text) is not None)
