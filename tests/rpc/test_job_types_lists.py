"""ListJobTypes: pages, orders and filters, and what of each cannot be."""

import json
from typing import Any

import pytest

from jobhall.v1 import job_type_service_pb2 as pb
from tests.support.calls import refusal, register
from tests.support.job_types import listed, register_type
from tests.support.servers import Running


async def test_types_are_listed_in_pages_with_the_global_ones(server: Running) -> None:
    for name, namespace in (("a", ""), ("b", ""), ("c", "@global"), ("d", "elsewhere")):
        await register(server, name, namespace)

    first = await server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_size=2))
    rest = await server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_size=2, page_token=first.next_page_token))

    assert [job_type.name for job_type in [*first.job_types, *rest.job_types]] == ["a", "b", "c"]
    assert not rest.next_page_token
    assert [known.name for known in await listed(server, namespace="-")] == ["a", "b", "c", "d"]
    assert [known.name for known in await listed(server, namespace="@global")] == ["c"]
    assert [known.name for known in await listed(server, skip=1)] == ["b", "c"]


async def test_pages_neither_repeat_nor_leave_out_what_was_there_all_the_time(server: Running) -> None:
    for name in "bdfhj":
        await register(server, name)

    async def page(token: str) -> pb.ListJobTypesResponse:
        answer = await server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_size=2, page_token=token))
        seen.extend(known.name for known in answer.job_types)
        return answer

    seen: list[str] = []
    first = await page("")
    await register(server, "a")
    await server.job_types.DeleteJobType(pb.DeleteJobTypeRequest(name="d"))
    second = await page(first.next_page_token)
    await register(server, "e")
    third = await page(second.next_page_token)

    assert not third.next_page_token
    assert seen == ["b", "d", "f", "h", "j"]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("name desc", ["c", "b", "a"]),
        ("create_time", ["b", "c", "a"]),
        ("create_time desc", ["a", "c", "b"]),
        ("name  asc", ["a", "b", "c"]),
    ],
)
async def test_a_list_comes_in_the_order_that_was_asked_for(server: Running, order: str, names: list[str]) -> None:
    for name in ("b", "c", "a"):
        await register(server, name)

    assert [known.name for known in await listed(server, order_by=order)] == names
    first = await server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_size=2, order_by=order))
    rest = await server.job_types.ListJobTypes(
        pb.ListJobTypesRequest(page_size=2, order_by=order, page_token=first.next_page_token)
    )
    assert [known.name for known in (*first.job_types, *rest.job_types)] == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name = a", ["a"]),
        ("name = a OR name = c", ["a", "c"]),
        ('namespace = "@global"', ["c"]),
        ("paused = true", ["b"]),
        ("paused = FALSE AND namespace = default", ["a"]),
        ("name = a AND name = b", []),
    ],
)
async def test_a_filter_narrows_the_list(server: Running, text: str, names: list[str]) -> None:
    for name, namespace in (("a", ""), ("b", ""), ("c", "@global")):
        await register(server, name, namespace)
    await server.job_types.PauseJobType(pb.PauseJobTypeRequest(name="b"))

    assert [known.name for known in await listed(server, filter=text)] == names


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        ({"page_token": "x"}, "FIELD_INVALID", "page_token"),
        ({"page_size": -1}, "FIELD_INVALID", "page_size"),
        ({"page_size": 1001}, "FIELD_INVALID", "page_size"),
        ({"skip": -1}, "FIELD_INVALID", "skip"),
        ({"skip": 10_001}, "FIELD_INVALID", "skip"),
        ({"namespace": "A"}, "FIELD_INVALID", "namespace"),
        ({"order_by": "worker_count"}, "FILTER_UNSUPPORTED", "order_by"),
        ({"filter": "version = 1"}, "FILTER_UNSUPPORTED", "filter"),
        ({"filter": "paused = maybe"}, "FIELD_INVALID", "filter"),
        ({"filter": "paused = true OR paused = false"}, "FILTER_UNSUPPORTED", "filter"),
        ({"filter": "paused = true AND paused = false"}, "FILTER_UNSUPPORTED", "filter"),
        ({"filter": "name > a"}, "FILTER_UNSUPPORTED", "filter"),
    ],
)
async def test_a_list_that_cannot_be_is_refused_by_its_field(
    server: Running, request_: dict[str, Any], reason: str, field: str
) -> None:
    error = await refusal(server.job_types.ListJobTypes(pb.ListJobTypesRequest(**request_)))

    assert (error.reason, error.violations[0].field) == (reason, field)


async def test_a_token_is_good_for_its_own_list_only(server: Running) -> None:
    for name in "abc":
        await register(server, name)
    token = (await server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_size=1))).next_page_token

    for other in ({"namespace": "-"}, {"order_by": "name desc"}, {"order_by": "create_time"}, {"filter": "name = a"}):
        error = await refusal(server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_token=token, **other)))  # type: ignore[arg-type]
        assert error.violations[0].field == "page_token"


async def test_a_list_of_large_schemas_is_cut_to_what_a_message_may_hold(server: Running) -> None:
    schema = json.dumps({"description": "x" * 65_000})
    for number in range(40):
        await register_type(server, name=f"t{number}", parameters_schema=schema, result_schema=schema)

    names: list[str] = []
    token = ""
    while not names or token:
        page = await server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_size=1000, page_token=token))
        names += [known.name for known in page.job_types]
        token = page.next_page_token
    assert sorted(names) == sorted(f"t{number}" for number in range(40))
