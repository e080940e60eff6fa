"""What a server says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jobhall.plain import Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo(Plain):
    """What a server says of itself."""

    version: str
    protocol_version_min: int = 0
    """Of the worker protocol."""
    protocol_version_max: int = 0
    engine: str = ""
    """Of the database: `sqlite` or `postgresql`."""
    engine_version: str = ""
    schema_revision: str = ""
    replica_id: str = ""
    features: tuple[str, ...] = ()
    server_time: datetime | None = None
