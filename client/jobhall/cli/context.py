"""What every command is given: the way to the server, and the way to speak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.exits import explain
from jobhall.cli.output import Output
from jobhall.cli.remarks import remark
from jobhall.errors import JobhallError
from jobhall.retry import CallRetry

if TYPE_CHECKING:
    from jobhall.client import Client

_ATTEMPTS_MAX = 4
"""A person waits: a server that is away is reported within a second or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The global options, resolved."""

    address: str | None
    token: str | None
    as_json: bool
    output: Output

    def connect(self) -> Client:
        """A client; the address and token of the environment stand in for those not given."""
        from jobhall.client import Client

        return Client(self.address, token=self.token, retry=CallRetry(attempts_max=_ATTEMPTS_MAX))

    def complain(self, error: JobhallError) -> None:
        """One line on standard error."""
        remark(explain(error))


Injected = Annotated[Context, Parameter(parse=False)]
"""A command's parameter that the command line does not fill."""

Namespace = Annotated[
    str,
    Parameter(
        name=["--namespace", "-n"], allow_leading_hyphen=True, help="Where; - means everywhere that you may look."
    ),
]
OneNamespace = Annotated[str, Parameter(name=["--namespace", "-n"], help="Where; default if not given.")]
Etag = Annotated[str, Parameter(help="Refuse if it changed since it had this etag.")]
Labels = Annotated[
    tuple[str, ...],
    Parameter(name=["--label", "-l"], help="NAME=VALUE; repeat it for more.", allow_leading_hyphen=True),
]
