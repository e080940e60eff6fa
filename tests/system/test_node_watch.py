"""The watch for Node that was written from the protos alone misses nothing, and docs/watching.md shows its middle."""

import re
from pathlib import Path

import pytest

import jobhall
from jobhall.ids import new_id
from tests.support.ports import free_port
from tests.support.processes import Processes
from tests.support.stored import Stored
from tests.support.tools import needed_folder, needed_tool
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
WATCH = ROOT / "examples" / "node_worker" / "watch.mjs"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def node_watch(*arguments: str) -> list[str]:
    needed_folder(WATCH.parent / "node_modules")
    return [str(needed_tool("node")), str(WATCH), *arguments]


def test_a_watch_for_node_goes_on_where_it_was_after_a_kill_of_the_server_and_its_own_end(
    processes: Processes, tmp_path: Path
) -> None:
    command = node_watch("cursor.txt", "score")
    cursor = tmp_path / "cursor.txt"
    address = f"127.0.0.1:{free_port()}"
    server = processes.serve(listen=address)
    ids = [new_id() for _ in range(3)]

    with jobhall.Client(address) as client:
        for name in ("score", "other"):
            client.types.register(name)
        first = processes.start("watch", command, address=address)
        eventually(cursor.exists, within=20, what="the snapshot is whole")
        client.jobs.submit("score", job_id=ids[0])
        first.says(f"EVENT_TYPE_SUBMITTED {ids[0]}")
        server.kill()
        server = processes.serve(listen=address)
        client.jobs.submit("score", job_id=ids[1])
        client.jobs.submit("other")
        first.says(f"EVENT_TYPE_SUBMITTED {ids[1]}")
        client.jobs.cancel_job(ids[0])
        first.says(f"EVENT_TYPE_CANCELLED {ids[0]}")
        first.stop()
        client.jobs.cancel_job(ids[1])
        client.jobs.submit("score", job_id=ids[2])
        second = processes.start("watch again", command, address=address)
        second.says(f"EVENT_TYPE_SUBMITTED {ids[2]}")
        second.stop()

    told = re.findall(r"EVENT_TYPE_(\w+) (\S+) \S+ (\d+)", first.output + second.output)
    kept = [(kind.name, job_id, str(revision)) for job_id, revision, kind in Stored(server.database).events()]
    assert told == [event for event in kept if event[1] in ids]
    assert "RESET" not in first.output + second.output


def test_a_watch_for_node_begins_anew_where_its_cursor_leads_nowhere(processes: Processes, tmp_path: Path) -> None:
    command = node_watch("cursor.txt", "score")
    cursor = tmp_path / "cursor.txt"
    cursor.write_text("of another database")
    server = processes.serve()

    with jobhall.Client(server.address) as client:
        client.types.register("score")
        job = client.jobs.submit("score")
        watch = processes.start("watch", command, address=server.address)
        watch.says(f"IS {job.id} JOB_STATE_PENDING 1")
        eventually(lambda: cursor.read_text() != "of another database", within=20, what="it keeps the new place")
        client.jobs.cancel_job(job.id)
        watch.says(f"EVENT_TYPE_CANCELLED {job.id} JOB_STATE_CANCELLED 2")
        watch.stop()

    assert watch.output.startswith("RESET\n")


def test_what_the_page_shows_of_it_is_the_file() -> None:
    [shown] = re.findall(r"^```js\n(.*?)^```", (ROOT / "docs" / "watching.md").read_text(), re.MULTILINE | re.DOTALL)

    assert shown in WATCH.read_text()
