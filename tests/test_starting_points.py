"""Test labs 9 to 11 copied out of the kit as their pages say, installed and run there."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from conftest import ROOT, Lab, wait_until
from kit.broker.network import free_port
from kit.cli.program import Script

INSTALLING = 300  # seconds
LABS = sorted(path.parent for path in ROOT.glob("labs/*/compose.yml"))
Start = Callable[..., Script]


def commands(lab: Path) -> list[str]:
    """Return the two command blocks of a page's section: copy and install."""
    page = (lab / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Keep it\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)[1]
    return re.findall(r"^```console\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def copied(lab: Path) -> set[str]:
    """Return the files and folders of the kit that a page says to copy."""
    return set(re.findall(r"labs/\S+", commands(lab)[0]))


@pytest.fixture
def start(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path):
    """Copy and install a lab as its page says; return a function that starts a program there."""
    folder = next(path for path in LABS if path.name == request.param)
    clean = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    clean["PATH"] = f"{Path(sys.executable).parent}:{clean['PATH']}"
    clean["PIP_NO_COMPILE"] = "1"  # compiling all of each package takes half the time
    script = "".join(commands(folder)).replace("~", str(tmp_path))
    bash = ["bash", "-e", "-c", f"{script}pwd"]
    done = subprocess.run(
        bash, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=INSTALLING
    )
    assert done.returncode == 0, done.stdout + done.stderr
    copy = Path(done.stdout.splitlines()[-1])
    python, scripts = copy / ".venv" / "bin" / "python", []

    def start(program: str, *options: object, **more: str) -> Script:
        env = clean | {"AMQP_URL": lab.url, "PYTHONUNBUFFERED": "1"} | more
        scripts.append(Script([python, program, *map(str, options)], env, cwd=copy))
        return scripts[-1]

    where = start("-c", "import kit, kit.web; print(kit.__file__)")
    assert where.wait() == 0 and where.text() == str(copy / "kit" / "__init__.py")
    programs = {path.name for path in copy.glob("*.py")}
    assert programs and not programs & {"starter.py", "solution.py", "test_exercise.py"}
    for program in programs:
        asked = start(program, "--help")
        assert asked.wait() == 0, asked.text()
    yield start
    for one in scripts:
        if one.process.poll() is None:
            one.terminate()
        one.wait()


@pytest.mark.parametrize("start", ["09-orders"], indirect=True)
def test_an_order_is_done(start: Start):
    port = free_port(2)
    erp = ("--erp-port", port + 1, "--erp-seconds", 0, "--erp-fail-every", 0)
    shop = start("run.py", "--http-port", port, *erp)
    shop.wait_for("Answering at", 2)
    order = {"customer_name": "Ada", "product_ids": [2, 4]}
    address = f"http://127.0.0.1:{port}/orders"
    number = httpx.post(address, json=order, trust_env=False, timeout=30).json()["number"]

    def status() -> str:
        return httpx.get(f"{address}/{number}", trust_env=False, timeout=30).json()["status"]

    wait_until(lambda: status() == "done", "the order is done")
    shop.terminate()
    assert shop.wait() == 0, shop.text()


@pytest.mark.parametrize("start", ["10-log-pipeline"], indirect=True)
def test_records_become_rows(start: Start):
    game = start("simulator.py", "--turn-seconds", 0)
    assert game.wait() == 0, game.text()
    worker = start(
        "worker.py", "--channel", "lobby", "combat", "--output", "rows", "--exit-when-empty"
    )
    assert worker.wait() == 0, worker.text()
    tables = start("tables.py", "rows")
    assert tables.wait() == 0, tables.text()
    logged = re.search(r"(\d+) records logged", game.text())[1]
    assert tables.find(f"{logged} records, and 0 that came twice")


@pytest.mark.parametrize("start", ["11-services"], indirect=True)
def test_a_change_in_the_monolith_arrives_at_the_attendees(start: Start):
    port = free_port(4)
    site = start("run.py", "monolith", "attendees", LAB_HTTP_PORT=str(port))
    site.wait_for("Answering at", 2)
    account = {"email": "ada@example.com", "name": "Ada"}
    monolith, attendees = (f"http://127.0.0.1:{port + place}/accounts" for place in range(2))
    httpx.post(monolith, json=account, trust_env=False, timeout=30).raise_for_status()
    wait_until(lambda: httpx.get(attendees, trust_env=False).json(), "the account is known")
    change = {"name": "Ada King"}
    address = f"{monolith}/ada@example.com"
    httpx.patch(address, json=change, trust_env=False, timeout=30).raise_for_status()

    def name() -> str:
        return httpx.get(attendees, trust_env=False, timeout=30).json()[0]["name"]

    wait_until(lambda: name() == "Ada King", "the change is known")
    site.terminate()
    assert site.wait() == 0, site.text()


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_a_lab_needs_the_kit_s_pika_and_tenacity(lab: Path):
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    scripts = [line for line in lines if line.startswith(("pika", "tenacity"))]
    own = (lab / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert len(scripts) == 2 and set(scripts) <= set(own)


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_the_images_are_made_of_the_same_files(lab: Path):
    dockerfile = (ROOT / "labs" / "Dockerfile").read_text(encoding="utf-8")
    sources = {
        word for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.M) for word in line.split()
    }
    of_others = tuple(f"labs/{other.name}/" for other in LABS if other != lab)
    assert {source for source in sources if not source.startswith(of_others)} == copied(lab)
