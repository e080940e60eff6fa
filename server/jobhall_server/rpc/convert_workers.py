"""Workers as operators see them, hall → pb2."""

from __future__ import annotations

from jobhall.v1 import task_pb2, worker_pb2
from jobhall_server.hall.roster import worker_state
from jobhall_server.hall.views import SessionView
from jobhall_server.rpc.convert import timestamp

_NUMBERS = frozenset({"process_id"})
"""Fields of RuntimeInfo that are no texts."""


def worker_out(session: SessionView, *, ttl_us: int) -> worker_pb2.Worker:
    """One worker; `ttl_us` is the time to live of a detached session that has none of its own."""
    record = session.record
    message = worker_pb2.Worker(
        id=record.session_id,
        name=session.worker_name,
        namespaces=session.namespaces,
        job_types=session.job_types,
        labels=session.labels,
        capacity=task_pb2.Capacity(tasks_max=session.tasks_max),
        held_count=session.held_count,
        state=int(worker_state(session)),  # type: ignore[arg-type]  # equal numbers, proven by a test
        # A stream is as good as its replica's word, which may be from before it.
        last_seen_time=timestamp(max(session.seen_at, session.created_at)),
        runtime=_runtime_out(session.runtime),
        epoch=record.epoch,
        create_time=timestamp(session.created_at),
        replica_id=str(record.replica_key),
        unary=record.unary,
    )
    if record.detached_at is not None:
        message.expire_time.CopyFrom(timestamp(record.detached_at + (record.ttl_us or ttl_us)))
    return message


def _runtime_out(runtime: dict[str, str]) -> worker_pb2.RuntimeInfo:
    message = worker_pb2.RuntimeInfo()
    for name, value in runtime.items():
        if name in worker_pb2.RuntimeInfo.DESCRIPTOR.fields_by_name:
            setattr(message, name, int(value) if name in _NUMBERS else value)
    return message
