"""Every number that server and SDK share: the bounds of the contract and the defaults of its intervals."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

# --- messages and payloads ---
PAYLOAD_BYTES_MAX: Final = 1024 * 1024
"""Parameters, a result or a checkpoint, inline."""
MESSAGE_BYTES_RECEIVED_MAX: Final = 4 * 1024 * 1024
"""What either side's channel takes as one message: gRPC's own default, so that no client has to be configured."""
MESSAGE_BYTES_MAX: Final = MESSAGE_BYTES_RECEIVED_MAX - 64 * 1024
"""What a sender puts in one message at most; pages are cut short and lists split to stay below it."""
STREAM_MESSAGE_BYTES_TARGET: Final = 64 * 1024
"""Where a sender on a stream cuts its message, unless a single item is larger."""

INTEGER_MAX: Final = 2**53 - 1
"""Of every 64-bit integer: a reader that knows only doubles loses nothing."""

# --- submitting and reading ---
BATCH_SUBMIT_MAX: Final = 1000
STREAM_SUBMIT_MAX: Final = 1000
"""Submits in one message of SubmitJobStream."""
STREAM_SUBMIT_UNACKED_MAX: Final = 10_000
"""Submits of one SubmitJobStream that are not yet answered."""
BATCH_GET_MAX: Final = 1000
BATCH_NAME_BYTES_MAX: Final = 255
PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1000
SKIP_MAX: Final = 10_000
BULK_JOBS_MAX: Final = 1000
"""Jobs that one call of CancelJobs, RetryJobs or PurgeJobs changes."""
STATS_JOB_TYPES_MAX: Final = 1000
FILTER_BYTES_MAX: Final = 4096
WATCH_JOB_IDS_MAX: Final = 1000
WATCH_JOB_TYPES_MAX: Final = 1000
INCLUDED_ERRORS_MAX: Final = 100
"""Item errors within a Job when `include_errors` is set."""

# --- what a job may say ---
NAMESPACE_PATTERN: Final = r"[a-z0-9][a-z0-9_.-]{0,62}"
NAMESPACE_DEFAULT: Final = "default"
NAMESPACE_GLOBAL: Final = "@global"
NAMESPACE_ANY: Final = "-"
JOB_TYPE_PATTERN: Final = r"(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,62}:)?[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
"""`name` or `category:name`, after a `public:` or `private:` in front was taken off; those two are no categories."""
JOB_TYPE_PREFIX_GLOBAL: Final = "public:"
JOB_TYPE_PREFIX_OWN: Final = "private:"
LABELS_MAX: Final = 64
LABEL_KEY_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}"
LABEL_VALUE_BYTES_MAX: Final = 255
PATH_BYTES_MAX: Final = 1024
FILE_NAME_BYTES_MAX: Final = 1024
CONTENT_TYPE_BYTES_MAX: Final = 255
CONTENT_TYPE_JSON: Final = "application/json"
CONTENT_TYPE_BYTES: Final = "application/octet-stream"
REASON_BYTES_MAX: Final = 1024
PRIORITY_MIN: Final = -100
PRIORITY_MAX: Final = 100
ATTEMPTS_DEFAULT: Final = 4
ATTEMPTS_MAX: Final = 1000
WORKER_LOSSES_MAX: Final = 3
NON_RETRYABLE_CODES_MAX: Final = 100
RULE_DURATION_MAX: Final = timedelta(days=365)
"""The longest delay, timeout or grace that a job or a caller may ask for."""
RETRY_INITIAL_DELAY: Final = timedelta(seconds=1)
RETRY_MAX_DELAY: Final = timedelta(minutes=10)
RETRY_MULTIPLIER: Final = 2.0
RETRY_JITTER: Final = 0.2
"""The share of each delay that is random."""
UNIQUE_KEY_BYTES_MAX: Final = 255
RETENTION: Final = timedelta(days=30)
"""How long a job is kept after its end where neither it, its type nor the operator says otherwise."""
RETENTION_MAX: Final = timedelta(days=36_500)
"""The longest time that a job may ask to be kept after its end."""
ACCESS_SUBJECTS_MAX: Final = 100
"""In each list of an AccessControl."""
SUBJECT_BYTES_MAX: Final = 255
TRACEPARENT_BYTES_MAX: Final = 255
"""Version 00 has 55; later ones may append to it."""
TRACESTATE_BYTES_MAX: Final = 512

SCHEMA_BYTES_MAX: Final = 64 * 1024
"""A job type's JSON Schema."""
SCHEMA_DEPTH_MAX: Final = 64

# --- what a task may report ---
STEP_BYTES_MAX: Final = 255
"""A progress's step and stage."""
UNIT_BYTES_MAX: Final = 64
CODE_BYTES_MAX: Final = 255
"""The code of a job's error or an item error; an item error's key too."""
TEXT_BYTES_MAX: Final = 4096
"""The message of a progress, a job's error or an item error."""
PROGRESS_DETAILS_BYTES_MAX: Final = 16 * 1024
ITEM_ERRORS_KEPT_MAX: Final = 1000
"""Item errors stored per attempt; all are counted."""
LOG_LINES_KEPT_MAX: Final = 10_000
"""Log lines stored per attempt; the newest are refused beyond it, and counted."""
LOG_LINE_BYTES_MAX: Final = 16 * 1024
LOG_FIELDS_BYTES_MAX: Final = 16 * 1024
ERROR_STACK_BYTES_MAX: Final = 64 * 1024
ERROR_DETAILS_BYTES_MAX: Final = 16 * 1024

# --- the worker stream ---
PROTOCOL_VERSION: Final = 1
WORKER_NAME_BYTES_MAX: Final = 128
WORKER_JOB_TYPES_MAX: Final = 256
WORKER_NAMESPACES_MAX: Final = 64
WORKER_STREAMS_MAX: Final = 10_000
"""Worker streams that one server has open at once."""
CAPACITY_MAX: Final = 10_000
"""Tasks that one session may hold."""
UNACKED_ITEMS_MAX: Final = 20_000
UNACKED_BYTES_MAX: Final = 32 * 1024 * 1024
RESUME_TOKEN_BYTES_MAX: Final = 255
HEARTBEAT_INTERVAL: Final = timedelta(seconds=5)
SILENT_BEATS_MAX: Final = 3
SESSION_TTL: Final = timedelta(seconds=15)
ACCEPT_TIMEOUT: Final = timedelta(seconds=10)
HELLO_TIMEOUT: Final = timedelta(seconds=10)
CANCEL_GRACE: Final = timedelta(seconds=30)
DRAIN_TIMEOUT: Final = timedelta(seconds=30)
REAPER_INTERVAL: Final = timedelta(seconds=1)
RECONNECT_BACKOFF_MAX: Final = timedelta(seconds=10)

# --- without a stream ---
CLAIM_TASKS_MAX: Final = 1000
CLAIM_TIMEOUT_MAX: Final = timedelta(seconds=60)
LEASE_DURATION: Final = timedelta(seconds=60)
LEASE_DURATION_MIN: Final = timedelta(seconds=1)
LEASE_DURATION_MAX: Final = timedelta(days=1)
"""How long a unary session may live without being heard of."""

# --- waiting and watching ---
WAIT_TIMEOUT_DEFAULT: Final = timedelta(seconds=30)
WAIT_TIMEOUT_MAX: Final = timedelta(seconds=60)
"""The longest that one WaitJob is held open; a longer wait is asked for again."""
WATCH_BOOKMARK_INTERVAL: Final = timedelta(seconds=10)
WATCH_SILENCE_MAX: Final = 3 * WATCH_BOOKMARK_INTERVAL
"""What is silent for so long is broken, whatever the connection says."""
WATCHERS_MAX: Final = 20_000
EVENT_LOG_AGE: Final = timedelta(hours=24)
EVENT_LOG_ENTRIES_MAX: Final = 50_000_000
"""The log is cut at its old end by either: some 8 GB of events at the most."""

# --- the channel ---
KEEPALIVE_INTERVAL: Final = timedelta(seconds=30)
"""How often a client pings a silent connection."""
KEEPALIVE_INTERVAL_ACCEPTED: Final = timedelta(seconds=5)
"""The shortest ping interval that the server takes without a GOAWAY."""
ADDRESS_DEFAULT: Final = "127.0.0.1:50051"
PORT_MAX: Final = 65_535
