"""Every RPC has its method in both clients, which offer the same, typed and with an example of each."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from jobhall import Client
from tests.support.fake_channel import SERVICES
from tests.support.public_methods import (
    APIS,
    METHODS,
    PROGRAMS,
    clients_calls,
    example_of,
    method_of,
    public,
)

RPCS = [(service, rpc, place) for service, methods in METHODS.items() for rpc, place in methods.items()]
KINDS = pytest.mark.parametrize("twin", [False, True], ids=["Client", "AsyncClient"])
ASYNC_WORDS = {
    "AsyncIterator": "Iterator",
    "AsyncSubmitStream": "SubmitStream",
    "grpc.aio.Channel": "grpc.Channel",
}


def test_every_rpc_of_the_contract_has_a_method_and_every_method_of_the_table_an_rpc() -> None:
    contract = {service.name: {method.name for method in service.methods} for service in SERVICES}

    assert {service: set(methods) for service, methods in METHODS.items()} == {
        service: methods - PROGRAMS.keys() for service, methods in contract.items()
    }
    assert set().union(*contract.values()) >= PROGRAMS.keys()
    assert {type(part) for part in vars(Client("127.0.0.1:1")).values()} >= {it for it, _ in APIS.values()} - {Client}


@pytest.mark.parametrize("api", APIS, ids=lambda api: f"client.{api}" if api else "client")
def test_both_clients_offer_the_same_under_the_same_names_and_types(api: str) -> None:
    blocking, awaiting = APIS[api]

    assert offered(awaiting) == offered(blocking)


def test_a_method_that_only_one_client_had_would_be_seen() -> None:
    class Lacking(APIS["jobs"][1]):  # type: ignore[misc]
        async def cancel_job(self, job_id: str, *, reason: bytes = b"") -> None: ...

    theirs, ours = offered(Lacking), offered(APIS["jobs"][0])

    assert {name for name in ours if theirs[name] != ours[name]} == {"cancel_job"}


@KINDS
@pytest.mark.parametrize(("service", "rpc", "place"), RPCS, ids=[rpc for _, rpc, _ in RPCS])
def test_the_method_of_an_rpc_is_documented_with_an_example_that_calls_it(
    service: str, rpc: str, place: str, *, twin: bool
) -> None:
    method = method_of(place, twin=twin)
    example = example_of(method)
    called = set(clients_calls(example))

    assert place in called, f"{service}.{rpc}: the docstring of {place} has no example of it"
    for name in called:
        method_of(name, twin=twin)
    assert twin == bool(re.search(r"\b(?:await|async)\b", example))


def test_what_speaks_an_rpc_that_is_no_call_is_documented_with_an_example() -> None:
    assert [name for name, program in PROGRAMS.items() if program.__name__ not in example_of(program)] == []


@KINDS
def test_every_example_calls_what_is_there(*, twin: bool) -> None:
    """Those of the methods that are no RPC's own too, and of the classes."""
    documented = [it for kinds in APIS.values() for it in (kinds[twin], *public(kinds[twin]).values())]

    for it in documented:
        for name in clients_calls(example_of(it)):
            method_of(name, twin=twin)


def offered(kind: type) -> dict[str, Any]:
    """Name, kind, default and type of each parameter of the public methods, and what they give."""
    return {
        name: (type(member).__name__, *signature(member.fget if isinstance(member, property) else member))
        for name, member in public(kind).items()
    }


def signature(function: Any) -> tuple[Any, ...]:
    said = inspect.signature(function)
    parameters = [(it.name, it.kind.name, it.default, it.annotation) for it in said.parameters.values()]
    return parameters, as_blocking(said.return_annotation)


def as_blocking(annotation: str) -> str:
    for theirs, ours in ASYNC_WORDS.items():
        annotation = annotation.replace(theirs, ours)
    return re.sub(r"AsyncGenerator\[(.*), None\]", r"Generator[\1, None, None]", annotation)
