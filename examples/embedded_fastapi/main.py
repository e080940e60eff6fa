"""A host application with jobhall inside: one process, one database file, one login for both."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import grpc
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from examples.embedded_fastapi import routes
from examples.embedded_fastapi.users import User, Users
from jobhall import ApiError, AsyncClient
from jobhall.errors import TokenInvalidError
from jobhall_server import app as jobhall
from jobhall_server.domain.access import Principal
from jobhall_server.rpc.caller import Metadata
from jobhall_server.settings import load_settings

DATABASE = os.environ.get("DATABASE", "host.db")


class ByTheHostsLogin:
    """jobhall's authenticator: the host's users are its principals, their teams its organisations."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def authenticate(self, metadata: Metadata) -> Principal:
        """The user whose token the call carries."""
        token = str(dict(metadata).get("authorization", "")).removeprefix("Bearer ")
        user = await self._users.by_token(token)
        if user is None:
            raise TokenInvalidError("log in, and send the token along")
        roles = {"user", "worker", "admin"} if user.is_admin else {"user", "worker"}
        return Principal(f"user-{user.id}", organization_id=user.team, name=user.name, roles=frozenset(roles))


@asynccontextmanager
async def lifespan(host: FastAPI) -> AsyncIterator[None]:
    """The host's database first, then jobhall in the same file, then a channel to it.

    The rest of jobhall's settings are those of the environment, such as JOBHALL_LISTEN, where workers find it that
    speak gRPC; the names of its tables begin with `jobhall_`.
    """
    settings = load_settings({"database_url": f"sqlite:///{DATABASE}"}).settings
    async with (
        Users.open(DATABASE) as users,
        jobhall.build(settings, authenticator=ByTheHostsLogin(users)) as hall,
        grpc.aio.insecure_channel(hall.address) as channel,
    ):
        host.state.users, host.state.hall, host.state.channel = users, hall, channel
        yield


app = FastAPI(title="A host of jobhall", lifespan=lifespan)

# --- the host's login ---

bearer = HTTPBearer(auto_error=False)


class Login(BaseModel):
    """Who logs in."""

    name: str
    password: str


class SignUp(Login):
    """Who signs up, and for which team."""

    team: str


async def current_users(request: Request) -> Users:
    """The host's users."""
    users: Users = request.app.state.users
    return users


HostUsers = Annotated[Users, Depends(current_users)]


async def current_token(
    users: HostUsers, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> str:
    """The token of a user who is logged in; 401 without."""
    if credentials is None or await users.by_token(credentials.credentials) is None:
        raise HTTPException(401, "log in first", headers={"WWW-Authenticate": "Bearer"})
    return credentials.credentials


@app.post("/users", status_code=201)
async def sign_up(asked: SignUp, users: HostUsers) -> User:
    """Makes a user; the first one is an admin."""
    user = await users.sign_up(name=asked.name, password=asked.password, team=asked.team)
    if user is None:
        raise HTTPException(409, f"{asked.name} is taken")
    return user


@app.post("/login")
async def log_in(asked: Login, users: HostUsers) -> dict[str, str]:
    """A token, for the routes here and for workers that speak gRPC."""
    token = await users.log_in(name=asked.name, password=asked.password)
    if token is None:
        raise HTTPException(401, "name or password is wrong")
    return {"access_token": token, "token_type": "bearer"}


# --- jobhall's part: the routes get the host's dependencies ---


async def client_of_caller(request: Request, token: Annotated[str, Depends(current_token)]) -> AsyncClient:
    """A client that calls as the user does. It is cheap: all share one channel, which is the host's to close."""
    return AsyncClient(request.app.state.hall.address, token=token, channel=request.app.state.channel)


@app.exception_handler(ApiError)
async def told(_request: Request, error: ApiError) -> JSONResponse:
    """The errors of jobhall know which HTTP status they are."""
    return JSONResponse({"detail": error.message, "reason": error.reason}, status_code=error.status_code)


app.dependency_overrides[routes.get_client] = client_of_caller
app.include_router(routes.router)
