"""How ids, states and progress are stored, where the database has no type of its own for them."""

from __future__ import annotations

from dataclasses import asdict

import orjson

from jobhall.states import JobState
from jobhall_server.domain.progress import Progress

STATES = tuple(JobState)
"""The state of each number: five times as fast as calling the enum."""


def id_bytes(job_id: str) -> bytes:
    """The stored form of a canonical id."""
    return bytes.fromhex(job_id.replace("-", ""))


def id_of_hex(digits: str) -> str:
    """The canonical text of an id that a JSON row holds as 32 hex digits, of either case."""
    digits = digits.lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def progress_text(progress: Progress) -> str:
    """The JSON of the fields that are set."""
    return orjson.dumps({name: value for name, value in asdict(progress).items() if value not in (None, "")}).decode()


def progress_of(stored: str) -> Progress:
    """What `progress_text` wrote."""
    return Progress(**orjson.loads(stored))
