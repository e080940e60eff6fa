"""The store's queries: each runs named statements on a read connection, every one of them a snapshot of its own."""

from __future__ import annotations

from jobhall_server.hall.reads import Reads
from jobhall_server.storage.reader_batches import BatchReads
from jobhall_server.storage.reader_history import HistoryReads
from jobhall_server.storage.reader_jobs import JobReads
from jobhall_server.storage.reader_lists import ListReads
from jobhall_server.storage.reader_log import LogReads
from jobhall_server.storage.reader_service import ServiceReads


class Reader(JobReads, ListReads, HistoryReads, BatchReads, LogReads, ServiceReads, Reads):
    """`hall.reads.Reads` over a pool of read connections."""
