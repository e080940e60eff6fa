"""What an operator may choose, and where it comes from: flag > JOBHALL_* environment > TOML file > default."""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from jobhall import limits
from jobhall.errors import JobhallError

PREFIX = "JOBHALL_"
CONFIG_VARIABLE = "JOBHALL_CONFIG"
_CLIENT_VARIABLES = frozenset({"JOBHALL_ADDRESS", "JOBHALL_TOKEN", CONFIG_VARIABLE})
"""Of the SDK and of the file's place: they are no settings, and no mistake either."""


class SettingsError(JobhallError):
    """A setting cannot be used; the message names it, where it comes from, and what would do."""


class Settings(BaseModel):
    """Every setting of the server. Seconds are in `_seconds`; each field's text is what `--help` shows."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    listen: str = Field(limits.ADDRESS_DEFAULT, description="host:port for gRPC; port 0 takes a free one")
    http_listen: str = Field("", description="host:port for HTTP; empty is off, the only value until HTTP is built")
    database_url: SecretStr = Field(
        SecretStr("sqlite:///jobhall.db"), description="where the jobs are kept; a relative file is of this folder"
    )
    auth: Literal["none", "jwt"] = Field("none", description="how callers say who they are; jwt is not built yet")
    allow_unauthenticated_network: bool = Field(
        default=False, description="listen beyond this machine without authentication"
    )
    wait: bool = Field(
        default=False, description="stand by while another process serves the file, and take over when it ends"
    )
    table_prefix: str = Field(
        "jobhall_", pattern=r"^[a-z][a-z0-9_]{0,30}$", description="what names of tables begin with"
    )
    synchronous: Literal["OFF", "NORMAL", "FULL", "EXTRA"] = Field(
        "FULL", description="when SQLite waits for the disk; below FULL a power cut may take the newest commits"
    )
    session_ttl_seconds: float = Field(
        limits.SESSION_TTL.total_seconds(),
        gt=0,
        le=3600,
        description="how long an absent worker keeps its tasks",
    )
    heartbeat_seconds: float = Field(
        limits.HEARTBEAT_INTERVAL.total_seconds(), gt=0, le=600, description="how often workers say that they live"
    )
    accept_seconds: float = Field(
        limits.ACCEPT_TIMEOUT.total_seconds(),
        gt=0,
        le=3600,
        description="how long a delivered task may wait",
    )
    hello_seconds: float = Field(
        limits.HELLO_TIMEOUT.total_seconds(), gt=0, le=600, description="how long a new worker stream may be silent"
    )
    cancel_grace_seconds: float = Field(
        limits.CANCEL_GRACE.total_seconds(), ge=0, le=86_400, description="how long a cancelled task may take to stop"
    )
    drain_seconds: float = Field(
        limits.DRAIN_TIMEOUT.total_seconds(),
        ge=0,
        le=3600,
        description="how long open calls may take at a stop",
    )
    reaper_seconds: float = Field(
        limits.REAPER_INTERVAL.total_seconds(), gt=0, le=60, description="how often lost sessions are looked for"
    )
    worker_streams_max: int = Field(
        limits.WORKER_STREAMS_MAX, ge=1, le=100_000, description="worker streams at once; more are SESSION_LIMIT"
    )
    worker_losses_max: int = Field(
        limits.WORKER_LOSSES_MAX, ge=1, le=1_000_000, description="worker losses in a row that fail a job"
    )
    lease_seconds: float = Field(
        limits.LEASE_DURATION.total_seconds(),
        gt=0,
        le=limits.LEASE_DURATION_MAX.total_seconds(),
        description="how long a worker without a stream may be silent",
    )
    retention_completed_seconds: float = Field(
        limits.RETENTION.total_seconds(),
        ge=0,
        le=limits.RETENTION_MAX.total_seconds(),
        description="how long a COMPLETED job is kept after its end; 0 is for ever",
    )
    retention_failed_seconds: float = Field(
        limits.RETENTION.total_seconds(),
        ge=0,
        le=limits.RETENTION_MAX.total_seconds(),
        description="the same of FAILED jobs",
    )
    retention_cancelled_seconds: float = Field(
        limits.RETENTION.total_seconds(),
        ge=0,
        le=limits.RETENTION_MAX.total_seconds(),
        description="the same of CANCELLED jobs",
    )
    event_log_seconds: float = Field(
        limits.EVENT_LOG_AGE.total_seconds(),
        ge=60,
        le=limits.RETENTION_MAX.total_seconds(),
        description="how far back a watcher's cursor may lie",
    )
    event_log_entries_max: int = Field(
        limits.EVENT_LOG_ENTRIES_MAX, ge=1000, description="events kept at the most, however young"
    )
    auto_register: bool = Field(default=True, description="register the job types that workers say they serve")
    sweep_job_types_after_seconds: float = Field(
        0,
        ge=0,
        le=limits.RETENTION_MAX.total_seconds(),
        description="how long a job type that only a worker's Hello registered may be idle; 0 is for ever",
    )
    watchers_max: int = Field(limits.WATCHERS_MAX, ge=1, le=100_000, description="open watches and waits at once")
    reflection: bool = Field(default=True, description="let tools such as grpcurl ask for the services")
    log_format: Literal["auto", "console", "json"] = Field("auto", description="console on a terminal, else json")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug has a line for every call"
    )

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        _parse_listen("listen", self.listen)
        if self.http_listen:
            raise ValueError("http_listen: HTTP is not built yet; leave it empty")
        if self.auth != "none":
            raise ValueError(f"auth: {self.auth!r} is not built yet; only 'none' is")
        if self.session_ttl_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"session_ttl_seconds: {self.session_ttl_seconds:g} is less than twice heartbeat_seconds "
                f"({self.heartbeat_seconds:g}): one late beat would lose a worker's tasks"
            )
        if not _is_loopback(self.listen) and not self.allow_unauthenticated_network:
            raise ValueError(
                f"listen: {self.listen} can be reached from other machines, and without authentication everybody is "
                "the admin; listen on 127.0.0.1, or set allow_unauthenticated_network in so many words"
            )
        return self


class Loaded:
    """The settings with, for each, where it came from; and what the operator should be warned of."""

    def __init__(self, settings: Settings, origins: dict[str, str], warnings: list[str]) -> None:
        self.settings = settings
        self.origins = origins
        self.warnings = warnings

    def lines(self) -> list[str]:
        """One line of TOML a setting, secrets redacted."""
        return [f"{name} = {shown(value)}  # {self.origins[name]}" for name, value in self.settings]


def load_settings(
    flags: Mapping[str, Any], *, environment: Mapping[str, str] | None = None, config: Path | None = None
) -> Loaded:
    """Flags, environment, the TOML file and the defaults as one; SettingsError says what is wrong, and where."""
    environ = os.environ if environment is None else environment
    path = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    if path is not None:
        _add(values, origins, _read_toml(path), str(path))
    variables = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    given = {name: environ[variable] for variable, name in variables.items() if environ.get(variable)}
    for name, value in given.items():
        _add(values, origins, {name: value}, f"{PREFIX}{name.upper()}")
    for name, value in flags.items():
        if value is not None:
            _add(values, origins, {name: value}, f"--{name.replace('_', '-')}")
    known = variables.keys() | _CLIENT_VARIABLES
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error, origins)) from None
    return Loaded(
        settings, origins, [f"{name} is no setting of this server{_meant(name, variables)}" for name in unknown]
    )


def shown(value: Any) -> str:
    """A setting's value as TOML writes it, secrets redacted."""
    # Of JSON's texts, numbers and booleans each is TOML as well.
    return json.dumps(_redacted(value.get_secret_value()) if isinstance(value, SecretStr) else value)


def _add(values: dict[str, Any], origins: dict[str, str], found: Mapping[str, Any], origin: str) -> None:
    values.update(found)
    origins.update(dict.fromkeys(found, origin))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    if unknown := sorted(table.keys() - Settings.model_fields.keys()):
        named = ", ".join(f"{name}{_meant(name, Settings.model_fields)}" for name in unknown)
        raise SettingsError(f"{path} has unknown settings: {named}; `jobhall-server config` lists all")
    return table


def _meant(name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    return f" ({nearest[0]}?)" if nearest else ""


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    """The first mistake in one line, with the setting's name and where its value came from."""
    first = error.errors()[0]
    if first["loc"]:
        name, text = str(first["loc"][0]), first["msg"]
    else:
        name, _, text = first["msg"].removeprefix("Value error, ").partition(": ")
    return f"{name}: {text} (from {origins.get(name, 'default')})"


def _redacted(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if not at or ":" not in login:
        return url
    return f"{scheme}{mark}{login.partition(':')[0]}:***@{place}"


def _parse_listen(name: str, value: str) -> None:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > limits.PORT_MAX:
        raise ValueError(f"{name}: {value!r} is no address; write host:port, such as 127.0.0.1:50051")


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
