"""The host with jobhall inside, over HTTP: a real process, in the order of the job library's routes."""

import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobhall import AttemptOutcome, Client, JobManager
from jobhall.errors import TokenInvalidError
from tests.support.processes import Processes, Program
from tests.support.tools import BIN
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

SOON = 10.0
LIBRARY = "/v1/joblib"
ROTATE = {"type": "object", "properties": {"angle": {"type": "number"}}, "required": ["angle"]}


class Host:
    """The running host, and who calls it."""

    def __init__(self, program: Program) -> None:
        program.says("Uvicorn running on")
        self.program = program
        self.url = said(program, r"Uvicorn running on (http://[\d.:]+)")
        self.grpc_address = said(program, r"address=\S*?(127\.0\.0\.1:\d+)")

    def user(self, name: str, team: str = "red") -> httpx.Client:
        """A client of HTTP that is logged in as a new user."""
        with httpx.Client(base_url=self.url) as anybody:
            anybody.post("/users", json={"name": name, "password": name, "team": team}).raise_for_status()
            answer = anybody.post("/login", json={"name": name, "password": name}).raise_for_status().json()
        headers = {"authorization": f"Bearer {answer['access_token']}"}
        return httpx.Client(base_url=f"{self.url}{LIBRARY}", headers=headers, timeout=SOON)


def said(program: Program, pattern: str) -> str:
    found = re.search(pattern, re.sub(r"\x1b\[[\d;]*m", "", program.output))
    assert found, program.output
    return found[1]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Processes(tmp_path_factory.mktemp("host")) as processes:
        yield start_host(processes)


def start_host(processes: Processes, *options: str) -> Host:
    command = [str(BIN / "uvicorn"), "examples.embedded_fastapi.main:app", "--port", "0", "--no-use-colors", *options]
    return Host(processes.start("host", command, listen="127.0.0.1:0", session_ttl_seconds=2, heartbeat_seconds=0.5))


@pytest.fixture(scope="module")
def admin(host: Host) -> Iterator[httpx.Client]:
    """The first user of the host."""
    with host.user("ada") as admin:
        yield admin


def of(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_whoever_is_not_logged_in_gets_nowhere(host: Host, admin: httpx.Client) -> None:
    """Not by HTTP, and not by gRPC either: jobhall asks the host who calls."""
    wrong = {"authorization": "Bearer not-the-hosts"}

    assert httpx.get(f"{host.url}{LIBRARY}/rooms/room_1/jobs").status_code == 401
    assert httpx.get(f"{host.url}{LIBRARY}/rooms/room_1/jobs", headers=wrong).status_code == 401
    assert httpx.post(f"{host.url}/login", json={"name": "ada", "password": "guess"}).status_code == 401
    assert httpx.post(f"{host.url}/login", json={"name": "nobody", "password": ""}).status_code == 401
    taken = {"name": "ada", "password": "", "team": "red"}
    assert httpx.post(f"{host.url}/users", json=taken).status_code == 409
    with Client(host.grpc_address, token="not-the-hosts") as client, pytest.raises(TokenInvalidError):
        list(client.types.list(namespace="room_1"))


def test_jobs_are_registered_listed_and_looked_up_by_room(host: Host, admin: httpx.Client) -> None:
    own = of(admin.put("/rooms/room_1/jobs", json={"name": "modifiers:Rotate", "schema": ROTATE}))
    shared = of(admin.put("/rooms/@global/jobs", json={"name": "modifiers:Scale", "description": "Larger."}))

    assert own == {
        "name": "modifiers:Rotate",
        "room_id": "room_1",
        "schema": ROTATE,
        "description": "",
        "workers": [],
    }
    assert (shared["room_id"], shared["description"]) == ("@global", "Larger.")
    assert of(admin.put("/rooms/room_1/jobs", json={"name": "modifiers:Rotate", "schema": ROTATE})) == own
    conflict = admin.put("/rooms/room_1/jobs", json={"name": "modifiers:Rotate", "schema": {"type": "array"}})
    assert of(conflict, 409)["reason"] == "JOB_TYPE_SCHEMA_CONFLICT"
    assert {job["name"] for job in of(admin.get("/rooms/room_1/jobs"))} >= {"modifiers:Rotate", "modifiers:Scale"}
    assert "modifiers:Rotate" not in {job["name"] for job in of(admin.get("/rooms/@global/jobs"))}
    assert of(admin.get("/rooms/room_1/jobs/modifiers:Rotate"))["room_id"] == "room_1"
    assert of(admin.get("/rooms/room_1/jobs/modifiers:Scale"))["room_id"] == "@global"
    assert of(admin.get("/rooms/@global/jobs/modifiers:Scale"))["room_id"] == "@global"
    assert of(admin.get("/rooms/@global/jobs/modifiers:Rotate"), 404)["reason"] == "JOB_TYPE_NOT_FOUND"
    with host.user("bob") as bob:
        assert of(bob.put("/rooms/@global/jobs", json={"name": "mine"}), 403)["reason"] == "ROLE_REQUIRED"


def test_a_task_is_pushed_claimed_kept_alive_and_completed(admin: httpx.Client) -> None:
    of(admin.put("/rooms/room_2/jobs", json={"name": "modifiers:Rotate", "schema": ROTATE}))

    task = of(admin.post("/rooms/room_2/tasks/private:modifiers:Rotate", json={"payload": {"angle": 90}}), 202)
    assert (task["status"], task["payload"], task["created_by"]) == ("pending", {"angle": 90}, "ada")
    refused = admin.post("/rooms/room_2/tasks/modifiers:Rotate", json={"payload": {"angel": 90}})
    assert of(refused, 400)["reason"] == "SCHEMA_MISMATCH"
    claim = of(admin.post("/tasks/claim", json={"jobs": ["modifiers:Rotate"], "rooms": ["room_2"], "wait": 5}))
    worker_id, [claimed] = claim["worker_id"], claim["tasks"]
    assert (claimed["id"], claimed["payload"]) == (task["id"], {"angle": 90})
    assert of(admin.get(f"/tasks/{task['id']}"))["status"] == "claimed"
    lease = {"worker_id": worker_id, "lease_token": claimed["lease_token"]}
    running = of(admin.patch(f"/tasks/{task['id']}", json={"status": "running", **lease}))
    assert (running["status"], running["worker_id"]) == ("running", worker_id)
    assert of(admin.patch(f"/workers/{worker_id}", json={"lease_tokens": [claimed["lease_token"]]})) == {
        "stop": [],
        "lost": [],
    }
    done = of(admin.patch(f"/tasks/{task['id']}", json={"status": "completed", "result": {"turned": 90}, **lease}))
    assert (done["status"], done["result"], done["error"]) == ("completed", {"turned": 90}, None)
    assert done["created_at"] <= done["started_at"] <= done["completed_at"]
    late = admin.patch(f"/tasks/{task['id']}", json={"status": "failed", "error": "late", **lease})
    assert of(late, 409)["reason"] in {"RESULT_CONFLICT", "LEASE_LOST"}
    assert of(admin.patch(f"/workers/{task['id']}", json={}), 404)["reason"] == "SESSION_EXPIRED"
    odd = {"status": "running", "worker_id": worker_id, "lease_token": "?"}
    assert admin.patch(f"/tasks/{task['id']}", json=odd).status_code == 422
    other = of(admin.post("/rooms/room_2/tasks/modifiers:Rotate", json={"payload": {"angle": 1}}), 202)
    assert "this task's" in of(admin.patch(f"/tasks/{other['id']}", json={**odd, **lease}), 422)["detail"]


def test_the_end_of_a_task_is_waited_for(admin: httpx.Client) -> None:
    """`Prefer: wait=N`: as it is after N seconds, or at its end at once, a failed one too."""
    of(admin.put("/rooms/room_3/jobs", json={"name": "Rotate"}))
    task = of(admin.post("/rooms/room_3/tasks/Rotate", json={"max_attempts": 1}), 202)

    early = admin.get(f"/tasks/{task['id']}", headers={"prefer": "wait=1"})
    assert (of(early)["status"], early.headers["preference-applied"]) == ("pending", "wait=1")
    ends: list[Any] = []
    waiting = threading.Thread(
        target=lambda: ends.append(of(admin.get(f"/tasks/{task['id']}", headers={"prefer": "respond-async, wait=30"})))
    )
    waiting.start()
    claim = of(admin.post("/tasks/claim", json={"jobs": ["Rotate"], "rooms": ["room_3"]}))
    lease = {"worker_id": claim["worker_id"], "lease_token": claim["tasks"][0]["lease_token"]}
    of(admin.patch(f"/tasks/{task['id']}", json={"status": "failed", "error": "no axis", **lease}))
    waiting.join(SOON)

    assert [(end["status"], end["error"]) for end in ends] == [("failed", "no axis")]


def test_a_claim_ends_with_its_caller(admin: httpx.Client) -> None:
    """Once the host went on waiting for a worker that had hung up: the next task was claimed for nobody."""
    of(admin.put("/rooms/room_6/jobs", json={"name": "Rotate"}))
    with pytest.raises(httpx.ReadTimeout):
        admin.post("/tasks/claim", json={"jobs": ["Rotate"], "rooms": ["room_6"], "wait": 30}, timeout=0.3)

    eventually(lambda: claim_is_over(admin, "room_6"), within=SOON, what="the host has heard that the caller is gone")


def claim_is_over(admin: httpx.Client, room: str) -> bool:
    task = of(admin.post(f"/rooms/{room}/tasks/Rotate", json={}), 202)
    claim = of(admin.post("/tasks/claim", json={"jobs": ["Rotate"], "rooms": [room]}))
    return [claimed["id"] for claimed in claim["tasks"]] == [task["id"]]


def test_a_host_that_stops_does_not_wait_for_long_polls(tmp_path: Path) -> None:
    """As its README starts it. Once Ctrl-C took as long as the longest poll, those of callers who had gone as well."""
    with Processes(tmp_path) as processes:
        host = start_host(processes, "--timeout-graceful-shutdown", "1")
        with host.user("ada") as ada:
            asked = {"jobs": ["Rotate"], "rooms": ["room_1"], "wait": 60}
            answers: list[httpx.Response] = []
            polling = threading.Thread(
                target=lambda: answers.append(ada.post("/tasks/claim", json=asked, timeout=SOON)), daemon=True
            )
            polling.start()
            host.program.says("worker_joined")
            assert host.program.stop(signal.SIGINT, within=SOON) == 0
            polling.join(SOON)

    assert [answer.status_code for answer in answers] == [503]
    assert "Traceback" not in host.program.output


def test_a_worker_by_grpc_has_the_same_login(host: Host, admin: httpx.Client) -> None:
    @dataclass
    class Rotate:
        angle: float

        def run(self, context: str) -> str:
            return f"{context} turned by {self.angle:g}"

    with host.user("cleo", team="blue") as user:
        token = user.headers["authorization"].removeprefix("Bearer ")
        with Client(host.grpc_address, token=token) as client, JobManager(client, namespace="room_4") as jobs:
            jobs.register(Rotate)
            task = of(user.post("/rooms/room_4/tasks/Rotate", json={"payload": {"angle": 90}}), 202)
            with jobs.listen() as tasks:
                assert next(tasks).run("scene") is AttemptOutcome.COMPLETED

        done = of(user.get(f"/tasks/{task['id']}", headers={"prefer": "wait=10"}))
        assert (done["result"], done["created_by"]) == ("scene turned by 90", "cleo")
    with host.user("dora", team="green") as stranger:
        assert of(stranger.get(f"/tasks/{task['id']}"), 404)["reason"] == "JOB_NOT_FOUND"


def test_a_task_whose_worker_is_silent_goes_to_another(admin: httpx.Client) -> None:
    of(admin.put("/rooms/room_5/jobs", json={"name": "Rotate"}))
    task = of(admin.post("/rooms/room_5/tasks/Rotate", json={}), 202)
    asked = {"jobs": ["Rotate"], "rooms": ["room_5"]}
    first = of(admin.post("/tasks/claim", json={**asked, "lease": 1}))
    lease = {"worker_id": first["worker_id"], "lease_token": first["tasks"][0]["lease_token"]}
    of(admin.patch(f"/tasks/{task['id']}", json={"status": "running", **lease}))

    second = of(admin.post("/tasks/claim", json={**asked, "wait": 10}))

    assert [claimed["id"] for claimed in second["tasks"]] == [task["id"]]
    late = admin.patch(f"/tasks/{task['id']}", json={"status": "running", **lease})
    assert of(late, 404)["reason"] == "SESSION_EXPIRED"


def test_host_and_jobhall_share_one_database_file(host: Host, admin: httpx.Client) -> None:
    path = said(host.program, r"database=(\S+)")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert {"users", "sessions", "jobhall_jobs"} <= tables
    assert {name for name in tables if not name.startswith("jobhall_")} == {"users", "sessions"}
