"""`jobhall-server`: serve, migrate, backup, config, healthcheck. What goes wrong: a line on stderr, an exit code."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, get_args, get_origin

from cyclopts import App as Cli
from cyclopts import CycloptsError, Parameter

import jobhall
from jobhall.errors import JobhallError
from jobhall_server.settings import Loaded, Settings, SettingsError, load_settings, shown

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from jobhall_server.app import App

EXIT_FAILED = 1
EXIT_USAGE = 2
_HEALTHCHECK_SECONDS = 3.0

_SWITCH_INTERVAL_SECONDS = 50e-6
"""The writer's thread gives up the interpreter lock at every step of sqlite3, and a busy event loop then keeps it for a
whole switch interval: with the default of 5 ms a never-idle loop starved the writer (HOTPATH: 2,000 jobs not done in
40 s, against 22,000 jobs a second with this)."""

cli = Cli(
    name="jobhall-server",
    help="The jobhall server: coordinates jobs between services over gRPC.",
    version=f"jobhall-server {jobhall.__version__}",
    help_on_error=False,
)


def _flags_class() -> Any:
    """A flag for every setting, so that none can be forgotten; None where it is not given."""
    fields = [
        (
            name,
            Annotated[_flag_type(field.annotation), Parameter(help=_flag_help(name))],
            dataclasses.field(default=None),
        )
        for name, field in Settings.model_fields.items()
    ]
    return dataclasses.make_dataclass("Flags", fields, kw_only=True, namespace={"__module__": __name__})


def _flag_type(annotation: Any) -> Any:
    return (bool if annotation is bool else str) | None


def _flag_help(name: str) -> str:
    """The setting's sentence, what it may be where that is a choice, and what it is if nobody says."""
    field = Settings.model_fields[name]
    choices = f" [{'|'.join(get_args(field.annotation))}]" if get_origin(field.annotation) is Literal else ""
    return f"{field.description}{choices} (default: {shown(field.default)})"


if TYPE_CHECKING:
    Flags = Any
else:
    Flags = _flags_class()

_Flags = Annotated[Flags | None, Parameter(name="*")]
_Config = Annotated[Path | None, Parameter(help="TOML file of settings (JOBHALL_CONFIG)")]


@cli.command
def serve(
    *,
    config: _Config = None,
    address_file: Annotated[Path | None, Parameter(help="write host:port here once the server is ready")] = None,
    flags: _Flags = None,
) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once."""
    loaded = _load(config, flags)
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve_until_told(loaded, address_file))
    if address_file is not None:
        address_file.unlink(missing_ok=True)


@cli.command
def migrate(*, config: _Config = None, flags: _Flags = None) -> None:
    """Bring the database's schema up to this version (SQLite files are also migrated at every start)."""
    from jobhall_server.app import migrate_database

    loaded = _load(config, flags)
    _warn(loaded)
    _say(migrate_database(loaded.settings))


@cli.command
def backup(
    file: Annotated[Path, Parameter(help="the new file; it is there when it is whole, and not before")],
    /,
    *,
    config: _Config = None,
    flags: _Flags = None,
) -> None:
    """Copy the database to FILE, from under a running server or not; to restore it, serve the copy."""
    from jobhall_server.app import back_up_database

    loaded = _load(config, flags)
    _warn(loaded)
    # Of itself this signal would leave half a copy behind.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    _say(back_up_database(loaded.settings, file))


@cli.command(name="config")
def show_config(*, config: _Config = None, flags: _Flags = None) -> None:
    """Print every setting as TOML, secrets redacted, and where each one comes from."""
    loaded = _load(config, flags)
    _warn(loaded)
    for line in loaded.lines():
        _say(line)


@cli.command
def healthcheck(
    *,
    address: Annotated[str | None, Parameter(help="host:port of the server; default: that of JOBHALL_LISTEN")] = None,
    config: _Config = None,
) -> None:
    """Exit with 0 if the server serves, with 1 if not."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    place = address or _reachable(_load(config, None).settings.listen)
    with grpc.insecure_channel(place) as channel:
        try:
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_HEALTHCHECK_SECONDS)
        except grpc.RpcError as error:
            _fail(f"{place} does not answer: {error.details()}", EXIT_FAILED)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        _fail(f"{place} answers, but is not serving", EXIT_FAILED)
    _say(f"{place} is serving")


def main() -> None:
    """The console script."""
    try:
        cli(exit_on_error=False, print_error=False)
    except (CycloptsError, SettingsError) as error:
        _fail(str(error), EXIT_USAGE)
    except JobhallError as error:
        _fail(str(error), EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read the output has enough of it; the interpreter must not complain of that as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


async def _serve_until_told(loaded: Loaded, address_file: Path | None) -> None:
    from jobhall_server import app, logs

    settings = loaded.settings
    logs.configure_logs(form=settings.log_format, level=settings.log_level)
    for warning in loaded.warnings:
        logs.warn(warning)
    server = app.build(settings)
    stopping = asyncio.Event()
    serving = asyncio.create_task(_serve(server, stopping, address_file), name="serve")

    def stop() -> None:
        stopping.set()
        if not server.address:
            serving.cancel()  # It stands by, or starts: nobody has been told of it yet.

    _on_signals(stop)
    await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()


async def _serve(server: App, stopping: asyncio.Event, address_file: Path | None) -> None:
    async with server:
        _spare_the_collector()
        _say(f"jobhall-server {jobhall.__version__} on {server.address}, database {server.database}")
        if address_file is not None:
            _write_whole(address_file, server.address)
        await stopping.wait()


def _spare_the_collector() -> None:
    """What is imported by now lives as long as the process, and the hot path makes no cycles: do not scan them.

    With the default thresholds a quarter of the writer's time under load was the collector's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def first() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first)


def _loop_factory() -> Callable[[], AbstractEventLoop] | None:
    with suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None


def _load(config: Path | None, flags: Any) -> Loaded:
    return load_settings({} if flags is None else dataclasses.asdict(flags), config=config)


def _warn(loaded: Loaded) -> None:
    """For commands without a log."""
    for warning in loaded.warnings:
        sys.stderr.write(f"jobhall-server: {warning}\n")


def _reachable(listen: str) -> str:
    """Where a server that listens on every address is reached from its own machine."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]") else listen  # noqa: S104 - compared, not bound


def _write_whole(path: Path, text: str) -> None:
    """Whoever waits for the file never reads half of it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(f"{text}\n")
    draft.replace(path)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"jobhall-server: {' '.join(message.split())}\n")
    sys.exit(code)
