"""The compose files on a real Docker Engine: come up, are used, restart, and leave nothing.

make test-docker    (python -m pytest --docker), with Docker Engine 25 or newer and its compose

Every project has a name of the test's own, so nobody's volumes are touched; but the labs' ports are
those of their compose files, and must be free.
"""

import json
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

PATIENCE = 600  # seconds to fetch images and build others


def call(*command: object, **options) -> str:
    """Run a command to its end, which must be a good one; return what it prints on stdout."""
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, **options
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def left_behind(project: str) -> list[str]:
    """Return the containers, volumes and networks of a project."""
    ours = "--filter", f"label=com.docker.compose.project={project}", "--quiet"
    containers = call("docker", "ps", "--all", *ours).split()
    return containers + call("docker", "volume", "ls", *ours).split() + networks(project)


def networks(project: str) -> list[str]:
    ours = "--filter", f"label=com.docker.compose.project={project}", "--quiet"
    return call("docker", "network", "ls", *ours).split()


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Fail where there is no Docker Engine: who asks for these tests wants them run."""
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        try:
            call(*command)
        except (OSError, AssertionError) as error:
            pytest.fail(f"these tests need Docker Engine and docker compose: {error}", pytrace=False)


# ---- the kit's broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a function that runs labs/broker.py on a node of the test's own."""
    node = f"test-{uuid.uuid4().hex[:8]}"
    environment = {"QUEUE_LAB_BROKER_DIR": str(tmp_path)}
    project = f"queue-lab-{node}"

    def run(verb: str, *options: object) -> str:
        command = [sys.executable, "labs/broker.py", verb, "--node", node, *options]
        return call(*command, env=clean_environment() | environment)

    run.project = project
    yield run
    call("docker", "compose", "--project-name", project, "down", "--volumes")
    assert left_behind(project) == []
