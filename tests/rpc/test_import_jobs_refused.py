"""ImportJobs refuses what is here already and what cannot have been so, by name; all or none, nothing when tried."""

from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.ids import new_id
from jobhall.limits import BATCH_SUBMIT_MAX, ITEM_ERRORS_KEPT_MAX, LOG_LINES_KEPT_MAX
from jobhall.states import JobState
from jobhall.v1 import admin_service_pb2 as admin_pb
from jobhall.v1 import batch_service_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import get, refusal, register, submit
from tests.support.imports import BEGAN_US, bring, stamp
from tests.support.servers import Running

EARLY, LATE = stamp(BEGAN_US + 10), stamp(BEGAN_US + 20)
ENDED: dict[str, Any] = {"attempt": 1, "start_time": EARLY, "end_time": LATE}
BROKEN: dict[str, Any] = {"kind": job_pb2.FAILURE_KIND_APPLICATION, "code": "BROKEN"}
RUNNING: dict[str, Any] = {"state": JobState.RUNNING, "attempt": 1, "start_time": EARLY, "fence": 1}
FAILED: dict[str, Any] = {
    "attempt": 1,
    "fence": 1,
    "start_time": EARLY,
    "end_time": LATE,
    "outcome": 2,
    "error": BROKEN,
}


def imported(*attempts: dict[str, Any], lines: Any = (), errors: Any = (), **fields: Any) -> admin_pb.ImportedJob:
    """A PENDING job without a past, with what the fields say instead; None leaves one out."""
    given = {"id": new_id(), "job_type": "score", "state": JobState.PENDING, "create_time": stamp(BEGAN_US), **fields}
    job: Any = {name: value for name, value in given.items() if value is not None}
    return admin_pb.ImportedJob(job=job, attempts=attempts, log_entries=lines, item_errors=errors)  # type: ignore[arg-type]


BAD = {
    "no id": (imported(id=None), "job.id"),
    "an id that is no UUID": (imported(id="42"), "job.id"),
    "no type": (imported(job_type=None), "job.job_type"),
    "a type of another namespace": (imported(job_type_namespace="other"), "job.job_type_namespace"),
    "no state": (imported(state=None), "job.state"),
    "a state that is none": (imported(state=99), "job.state"),
    "a priority beyond": (imported(priority=101), "job.priority"),
    "parameters that are no JSON": (imported(parameters={"json": "{"}), "job.parameters.json"),
    "a label that is none": (imported(labels={"-": "a"}), "job.labels['-']"),
    "a progress that contradicts itself": (imported(progress={"items_failed": 3}), "job.progress"),
    "COMPLETED without an end": (imported(state=6, attempt=1, start_time=EARLY), "job.end_time"),
    "COMPLETED without a start": (imported(state=6, attempt=1, end_time=LATE), "job.start_time"),
    "COMPLETED without an attempt": (imported(state=6, start_time=EARLY, end_time=LATE), "job.attempt"),
    "COMPLETED with an error": (imported(state=6, **ENDED, error=BROKEN), "job.error"),
    "FAILED without an error": (imported(state=7, **ENDED), "job.error"),
    "FAILED with an error of no kind": (imported(state=7, **ENDED, error={"code": "E"}), "job.error.kind"),
    "CANCELLED with an error": (imported(state=8, end_time=LATE, error=BROKEN), "job.error"),
    "PENDING with an end": (imported(end_time=LATE), "job.end_time"),
    "PENDING with a result": (imported(result={"json": "1"}), "job.result"),
    "PENDING with an attempt that is not told": (imported(start_time=EARLY), "job.start_time"),
    "SCHEDULED for no time": (imported(state=JobState.SCHEDULED), "job.schedule_time"),
    "RUNNING that has not begun": (imported(state=JobState.RUNNING, attempt=1), "job.start_time"),
    "RUNNING whose attempt is over": (imported(FAILED, **RUNNING), "attempts[0].outcome"),
    "more attempts than there may be": (
        imported(max_attempts=4, state=6, **{**ENDED, "attempt": 5}),
        "job.attempt",
    ),
    "no attempt left to wait for": (imported(attempt=4, max_attempts=4), "job.attempt"),
    "a revision below nothing": (imported(revision=-1), "job.revision"),
    "a start before the submit": (imported(state=6, **{**ENDED, "start_time": stamp(BEGAN_US - 1)}), "job.start_time"),
    "an end before the start": (imported(state=6, **{**ENDED, "end_time": stamp(BEGAN_US + 1)}), "job.end_time"),
    "a submit of the next century": (imported(create_time=stamp(4 * 10**15)), "job.create_time"),
    "a submit of the last century": (imported(create_time=stamp(-1)), "job.create_time"),
    "an attempt that did not begin": (imported({**FAILED, "start_time": None}), "attempts[0].start_time"),
    "an attempt without an outcome": (imported({**FAILED, "outcome": 0, "error": None}), "attempts[0].outcome"),
    "an attempt without an end": (imported({**FAILED, "end_time": None}), "attempts[0].end_time"),
    "an attempt that failed for no reason": (imported({**FAILED, "error": None}), "attempts[0].error"),
    "an attempt that failed though it did not": (imported({**FAILED, "outcome": 4}), "attempts[0].error"),
    "an attempt of number 0": (imported({**FAILED, "attempt": 0}), "attempts[0].attempt"),
    "two attempts of one fence": (imported(FAILED, FAILED), "attempts[1].fence"),
    # Once it was taken: every claim of its queue then failed, since no token had room for the next one.
    "a fence that no token has room for": (imported(fence=2**32), "job.fence"),
    "an attempt with such a fence": (imported({**FAILED, "fence": 2**32}), "attempts[0].fence"),
    "an attempt after the last": (imported({**FAILED, "fence": 3}, fence=2), "attempts[0].fence"),
    "a line of no attempt": (imported(FAILED, lines=[{"attempt": 2, "number": 1}]), "log_entries[0].attempt"),
    "a line without a number": (imported(FAILED, lines=[{"attempt": 1}]), "log_entries[0].number"),
    "a line beyond the bound": (
        imported(FAILED, lines=[{"attempt": 1, "number": LOG_LINES_KEPT_MAX + 1}]),
        "log_entries[0].number",
    ),
    "a line twice": (imported(FAILED, lines=[{"attempt": 1, "number": 7}] * 2), "log_entries[1].number"),
    "item errors of no attempt": (imported(errors=[{"index": 1}]), "item_errors"),
    "too many item errors": (imported(FAILED, errors=[{"index": 1}] * (ITEM_ERRORS_KEPT_MAX + 1)), "item_errors"),
}


@pytest.mark.parametrize(("bad", "field"), BAD.values(), ids=BAD)
async def test_what_cannot_have_been_so_is_named_and_nothing_is_written(
    brisk: Running, bad: admin_pb.ImportedJob, field: str
) -> None:
    good = imported()

    error = await refusal(bring(brisk, good, bad))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert [violation.field for violation in error.violations] == [f"jobs[1].{field}"]
    assert (await refusal(get(brisk, good.job.id))).reason == "JOB_NOT_FOUND"


async def test_all_that_is_wrong_is_named_at_once(brisk: Running) -> None:
    error = await refusal(
        bring(brisk, imported(state=6), imported(FAILED, FAILED, end_time=LATE), imported(state=7, end_time=LATE))
    )

    assert [violation.field for violation in error.violations] == [
        "jobs[0].job.end_time",
        "jobs[0].job.start_time",
        "jobs[0].job.attempt",
        "jobs[1].job.end_time",
        "jobs[1].attempts[1].fence",
        "jobs[2].job.error",
    ]


async def test_what_is_here_already_stays_as_it_is(brisk: Running) -> None:
    known, fresh = await submit(brisk, json="1"), imported()

    error = await refusal(bring(brisk, fresh, imported(id=known.id)))

    assert (error.code, error.reason, error.metadata["job_id"]) == (Code.ALREADY_EXISTS, "JOB_ID_REUSED", known.id)
    assert (await get(brisk, known.id)).parameters.json == "1"
    assert (await refusal(get(brisk, fresh.job.id))).reason == "JOB_NOT_FOUND"
    twice = imported()
    assert (await refusal(bring(brisk, twice, twice))).reason == "JOB_ID_REUSED"


async def test_a_type_that_is_not_here_is_refused_and_named(brisk: Running) -> None:
    error = await refusal(bring(brisk, imported(job_type="scores")))

    assert (error.code, error.reason) == (Code.NOT_FOUND, "JOB_TYPE_NOT_FOUND")
    assert error.metadata["nearest"] == "score"
    await register(brisk, "shared", "@global")
    await bring(brisk, shared := imported(job_type="shared", job_type_namespace="@global"))
    assert (await get(brisk, shared.job.id)).job_type_namespace == "@global"
    own = imported(job_type="shared", job_type_namespace="default")
    assert (await refusal(bring(brisk, own))).reason == "JOB_TYPE_NOT_FOUND"


async def test_a_batch_that_is_not_here_or_elsewhere_is_refused(brisk: Running) -> None:
    await register(brisk, namespace="other")
    batch = (await brisk.batches.CreateBatch(batch_service_pb2.CreateBatchRequest())).batch

    missing = await refusal(bring(brisk, imported(batch_id=new_id())))
    elsewhere = await refusal(bring(brisk, imported(batch_id=batch.id, namespace="other")))

    assert missing.reason == "BATCH_NOT_FOUND"
    assert [violation.field for violation in elsewhere.violations] == ["jobs[0].job.batch_id"]


async def test_a_key_that_a_live_job_has_is_refused(brisk: Running) -> None:
    holder = await submit(brisk, unique_key="nightly")

    error = await refusal(bring(brisk, imported(unique_key="nightly")))

    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "UNIQUE_KEY_TAKEN")
    assert error.metadata == {"unique_key": "nightly", "job_id": holder.id}
    assert (
        await refusal(bring(brisk, *[imported(unique_key="weekly") for _ in range(2)]))
    ).reason == "UNIQUE_KEY_TAKEN"


@pytest.mark.parametrize("count", [0, BATCH_SUBMIT_MAX + 1])
async def test_there_are_one_to_a_thousand(brisk: Running, count: int) -> None:
    error = await refusal(bring(brisk, *[imported()] * count))

    assert [violation.field for violation in error.violations] == ["jobs"]


async def test_what_is_only_tried_is_judged_and_not_stored(brisk: Running) -> None:
    await register(brisk, namespace="other")
    known = await submit(brisk)
    running = imported(**RUNNING, max_attempts=3, namespace="other")

    [brief] = await bring(brisk, running, validate_only=True)
    taken = await refusal(bring(brisk, imported(id=known.id), validate_only=True))

    assert (brief.id, brief.state, brief.attempt) == (running.job.id, job_pb2.JOB_STATE_PENDING, 0)
    assert taken.reason == "JOB_ID_REUSED"
    assert (await refusal(get(brisk, running.job.id))).reason == "JOB_NOT_FOUND"
    everywhere = await brisk.jobs.GetJobStats(pb.GetJobStatsRequest(namespace="-"))
    assert everywhere.total.pending == 1


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (("CreateApiKey", admin_pb.CreateApiKeyRequest()), "API keys"),
        (("ListApiKeys", admin_pb.ListApiKeysRequest()), "API keys"),
        (("RevokeApiKey", admin_pb.RevokeApiKeyRequest()), "API keys"),
        (("ListAuditEntries", admin_pb.ListAuditEntriesRequest()), "audit"),
    ],
)
async def test_what_this_server_has_not_yet_it_says(brisk: Running, call: tuple[str, Any], what: str) -> None:
    name, request = call

    error = await refusal(getattr(brisk.admin, name)(request))

    assert (error.code, error.message) == (Code.UNIMPLEMENTED, f"this server has no {what} yet")
