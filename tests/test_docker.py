"""Test the compose files on a real Docker Engine: up, used, restarted, and gone.

make test-docker    (python -m pytest --docker), with Docker Engine 25 or newer and its compose

Each test uses its own project name, so your volumes are not touched. The labs use the ports of
their compose files, which must be free.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from conftest import ROOT, wait_until
from kit.broker.network import free_port

PATIENCE = 600  # seconds to pull and build images
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "AMQP_URL"}
Compose = Callable[..., str]


def call(*command: object, **environment: str) -> str:
    """Run a command in the kit's folder, which must exit with 0; return its output."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{command}:\n{done.stderr[-2000:]}"
    return done.stdout


def ids_of(project: str, *kind: str) -> list[str]:
    """Return the ids of a project's containers ("ps", "--all"), volumes or networks."""
    label = f"label=com.docker.compose.project={project}"
    return call("docker", *kind, "--quiet", "--filter", label).split()


def volumes(project: str) -> list[str]:
    return ids_of(project, "volume", "ls")


def left_behind(project: str) -> list[str]:
    """Return the remaining containers, volumes and networks of a project."""
    containers, networks = (ids_of(project, *kind) for kind in (("ps", "--all"), ("network", "ls")))
    return containers + volumes(project) + networks


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Fail without Docker: these tests run only on request."""
    try:
        call("docker", "version")
        call("docker", "compose", "version")
    except (OSError, AssertionError) as error:
        pytest.fail(f"Docker Engine and docker compose are needed: {error}", pytrace=False)


# ---- the kit's broker


def test_the_broker_comes_up_keeps_its_messages_and_goes(tmp_path: Path):
    node, port = f"test-{uuid.uuid4().hex[:8]}", free_port()
    project = f"queue-lab-{node}"

    def broker(verb: str, *options: object) -> str:
        command = sys.executable, "labs/broker.py", verb, "--node", node, *options
        return call(*command, QUEUE_LAB_BROKER_DIR=str(tmp_path))

    def run(script: str, *options: object) -> str:
        return call(sys.executable, script, "--port", port, "--queue", "q", *options)

    def receive() -> str:
        return run("consumer.py", "--acknowledge", "--exit-when-empty")

    try:
        up = broker("up", "--via", "docker", "--port", port, "--management-port", free_port())
        assert "way: docker" in up and f"port {port} " in up
        assert "way: docker" in broker("status")

        run("producer.py", "--durable", "--persistent", *"abc")
        worked = run("qprocessor.py", "--acknowledge", "--limit", 2, "--seconds-per-character", 0)
        assert worked.count(" [x] Done") == 2
        broker("restart")
        assert " [x] Received 'c'" in receive()

        run("producer.py", "--persistent", "kept")
        broker("kill")
        broker("up")
        assert " [x] Received 'kept'" in receive()

        run("producer.py", "--persistent", "kept for long")
        broker("down")
        assert ids_of(project, "ps", "--all") == []
        assert len(volumes(project)) == 1
        broker("up", "--via", "docker")
        assert " [x] Received 'kept for long'" in receive()

        # RabbitMQ 4.3 refuses transient queues unless the kit permits them.
        call(sys.executable, "producer.py", "--port", port, "--queue", "transient", "a")

        broker("down", "--wipe")
        assert left_behind(project) == []
    finally:
        call("docker", "compose", "--project-name", project, "down", "--volumes")


def test_compose_reads_the_file_as_we_do(tmp_path: Path):
    settings = tmp_path / "env"
    settings.write_text("LAB_PORT=5680\nLAB_PASSWORD='a $ and a #'\n", encoding="utf-8")
    command = "docker", "compose", "--env-file", settings, "config", "--format", "json"
    broker = json.loads(call(*command))["services"]["rabbitmq"]
    ports = [f"{port['host_ip']}:{port['published']}:{port['target']}" for port in broker["ports"]]
    assert ports == ["127.0.0.1:5680:5672", "127.0.0.1:15672:15672"]
    assert broker["environment"] == {
        "RABBITMQ_DEFAULT_USER": "guest",
        "RABBITMQ_DEFAULT_PASS": "a $$ and a #",  # printed as it would be written in the file
    }
    assert broker["restart"] == "no"


# ---- the labs


@pytest.fixture
def compose() -> Iterator[Callable[[str], Compose]]:
    """Return a function that returns a lab's `docker compose`; remove its project in the end."""
    projects: list[tuple[str, Compose]] = []

    def start(lab: str) -> Compose:
        project = f"test-{uuid.uuid4().hex[:8]}"
        file = f"labs/{lab}/compose.yml"

        def run(*command: object) -> str:
            ours = "docker", "compose", "--project-name", project, "--file", file
            try:
                return call(*ours, *command)
            except AssertionError:
                print(call(*ours, "logs", "--no-color", "--tail", 5))  # the reason, for the report
                raise

        projects.append((project, run))
        return run

    yield start
    for project, run in projects:
        run("down", "--volumes", "--rmi", "local", "--timeout", 5)
        assert left_behind(project) == []


def answer(url: str) -> dict | None:
    """Return a service's answer, or None while it has no good one."""
    try:
        page = httpx.get(url, timeout=10)
    except httpx.TransportError:
        return None
    return page.json() if page.status_code == 200 else None


def test_lab_9_does_an_order(compose: Callable[[str], Compose]):
    compose("09-orders")("up", "--detach", "--build", "--wait")
    shop = "http://127.0.0.1:8009/orders"
    placed = httpx.post(shop, json={"customer_name": "Ada", "product_ids": [2, 4]}, timeout=30)
    assert placed.status_code == 201
    where = f"http://127.0.0.1:8009{placed.headers['Location']}"
    wait_until(lambda: (answer(where) or {}).get("status") == "done", "the order is done")


def test_lab_10_makes_rows_of_all_records_with_four_workers(compose: Callable[[str], Compose]):
    run = compose("10-log-pipeline")
    run("up", "--detach", "--build", "--wait", "--scale", "worker=4", "rabbitmq", "worker")
    run("up", "--detach", "--build", "simulator")
    said = wait_until(
        lambda: re.search(r"(\d+) records logged", run("logs", "simulator")), "the game ends"
    )
    logged = int(said[1])
    assert logged > 0

    def tables() -> dict:
        return json.loads(run("exec", "--no-TTY", "worker", "./tables.py", "/data/rows", "--json"))

    wait_until(lambda: tables()["records"] == logged, "all records are in the tables", within=60)
    assert len(run("ps", "--quiet", "worker").split()) == 4


def test_lab_11_tells_the_attendees_of_an_account(compose: Callable[[str], Compose]):
    run = compose("11-services")
    run("up", "--detach", "--build", "--wait")
    for port in (8011, 8012, 8013):
        assert answer(f"http://127.0.0.1:{port}/health"), port
    account = {"email": "ada@example.com", "name": "Ada"}
    assert httpx.post("http://127.0.0.1:8011/accounts", json=account, timeout=30).is_success
    copy = "http://127.0.0.1:8012/accounts/ada@example.com"
    assert wait_until(lambda: answer(copy), "the account has arrived")["name"] == "Ada"
