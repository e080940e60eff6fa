"""The blocking client and the async one offer the same: every method with the same parameters and defaults."""

import inspect

import pytest

from jobhall import aio, aio_batches, aio_jobs, client, client_batches, client_jobs

ASYNC_ONLY = {"submit_stream"}
TWINS = [
    (client.Client, aio.AsyncClient),
    (client_jobs.JobsApi, aio_jobs.AsyncJobsApi),
    (client_batches.BatchesApi, aio_batches.AsyncBatchesApi),
    (client.JobTypesApi, aio.AsyncJobTypesApi),
    (client.WorkersApi, aio.AsyncWorkersApi),
]


@pytest.mark.parametrize(("blocking", "awaiting"), TWINS, ids=lambda twin: twin.__name__)
def test_both_clients_offer_the_same(blocking: type, awaiting: type) -> None:
    theirs = offered(awaiting)

    assert offered(blocking) == {name: said for name, said in theirs.items() if name not in ASYNC_ONLY}


def offered(kind: type) -> dict[str, list[tuple[str, str, object]]]:
    """Name, kind and default of each parameter of the public methods."""
    methods = {name: method for name, method in vars(kind).items() if inspect.isfunction(method) and name[0] != "_"}
    return {
        name: [(it.name, it.kind.name, it.default) for it in inspect.signature(method).parameters.values()]
        for name, method in methods.items()
    }
