"""A watch that was away for long: how fast it reads what it has missed, with bare messages and with the SDK."""

from __future__ import annotations

import time

import grpc

import jobhall
from jobhall.channel import CHANNEL_OPTIONS
from jobhall.v1.job_service_pb2 import WatchJobsRequest
from jobhall.v1.job_service_pb2_grpc import JobServiceStub

Figures = dict[str, float]
_TIMES = 2


def cursor_now(address: str) -> str:
    """The place that a watch of the namespace has now."""
    with jobhall.Client(address) as client:
        return next(client.jobs.watch()).cursor


def measure_resume(address: str, cursor: str, events: int) -> Figures:
    """Events per second that are read from there until so many have come; each way in turn, the better time of each."""
    bare, sdk = [], []
    for _ in range(_TIMES):
        bare.append(events / _read_bare(address, cursor, events))
        sdk.append(events / _read(address, cursor, events))
    return {"resumed_per_second": max(bare), "resumed_sdk_per_second": max(sdk)}


def _read_bare(address: str, cursor: str, events: int) -> float:
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stub = JobServiceStub(channel)
        began = time.perf_counter()
        stream = stub.WatchJobs(WatchJobsRequest(cursor=cursor))
        for response in stream:
            events -= len(response.events)
            if events <= 0:
                break
        taken = time.perf_counter() - began
        stream.cancel()
    return taken


def _read(address: str, cursor: str, events: int) -> float:
    with jobhall.Client(address) as client:
        began = time.perf_counter()
        for update in client.jobs.watch(cursor=cursor):
            events -= len(update.events)
            if events <= 0:
                break
        return time.perf_counter() - began
