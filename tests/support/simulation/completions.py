"""The completion jobs of the simulated batches."""

from __future__ import annotations

import json

from jobhall_server.domain.job import Payload
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.views import PayloadKind
from tests.support.memory.tables import Row, Tables

_SAYS = "the completion job of "


def read_completion(text: str) -> Submission:
    """The completion job of the batch with that id; the server chooses the job's, so that two of them are two."""
    return Submission("work", parameters=Payload(json.dumps(_SAYS + text)))


def completed_by(tables: Tables, row: Row) -> str | None:
    """The id of the batch that has the job as its completion job."""
    parameters = tables.payloads[PayloadKind.PARAMETERS].get(row["key"])
    said = "" if parameters is None else json.loads(str(parameters.content))
    return said.removeprefix(_SAYS) if isinstance(said, str) and said else None
