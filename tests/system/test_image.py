"""The container image, without Docker: its instructions in a scratch folder, its health check against its server."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobhall
from tests.support.dockerfile import Image, instructions_of
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(context=ROOT, root=tmp_path_factory.mktemp("image"))
    image.build(instructions_of((ROOT / "Dockerfile").read_text()))
    return image


@pytest.fixture
def environment(image: Image) -> dict[str, str]:
    """The image's own, except that a test serves loopback and not the network."""
    return image.process_environment(JOBHALL_LISTEN=f"127.0.0.1:{free_port()}")


@pytest.fixture
def server(image: Image, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    folder = image.root / image.workdir.lstrip("/")
    with (image.root / "server.log").open("wb") as log:
        command = [*image.entrypoint, *image.command]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def test_the_image_is_run_by_a_user_of_its_own_and_keeps_the_database_on_a_volume(image: Image) -> None:
    [useradd] = image.not_run

    assert image.user == "jobhall"
    assert f" {image.user} " in f"{useradd} "
    assert image.volumes == ["/data"]
    assert image.environment["JOBHALL_DATABASE_URL"] == "sqlite:////data/jobhall.db"
    assert image.environment["JOBHALL_LISTEN"] == f"0.0.0.0:{image.ports[0]}"


def test_the_image_has_both_commands(image: Image, environment: dict[str, str]) -> None:
    for command in ("jobhall", "jobhall-server"):
        done = run([command, "--version"], environment)
        assert jobhall.__version__ in done.stdout, done.stderr
    assert run(["sh", "-c", "command -v jobhall-server"], environment).stdout.startswith(str(image.root))


def test_the_health_check_tells_a_serving_image_from_one_that_is_not(
    image: Image, environment: dict[str, str], server: subprocess.Popen[bytes]
) -> None:
    eventually(
        lambda: run(image.healthcheck, environment).returncode == 0 or server.poll() is not None,
        within=30,
        what="the health check passes",
    )
    assert server.poll() is None, (image.root / "server.log").read_text()
    assert (image.root / "data" / "jobhall.db").exists()

    server.send_signal(signal.SIGTERM)

    assert server.wait(timeout=30) == 0, (image.root / "server.log").read_text()
    assert run(image.healthcheck, environment).returncode == 1


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
