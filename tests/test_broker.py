"""Test labs/broker.py, and the private node that it starts, on real brokers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pika
import pytest

from conftest import wait_until
from kit.broker import debian, process
from kit.broker import versions as rabbitmq
from kit.broker.network import amqp_answers, free_port, greet, is_free, page_answers
from kit.broker.node import Node
from kit.cli import Trouble
from kit.cli.program import Script

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".broker" / "unpacked"


@pytest.fixture(scope="module")
def version(pytestconfig):
    """Return the series asked for with --rabbitmq, or None for the default of `up`."""
    return pytestconfig.getoption("--rabbitmq")


@pytest.fixture(scope="module")
def prefix(version):
    return rabbitmq.get(CACHE, version)


@pytest.fixture(scope="module")
def node(prefix, tmp_path_factory):
    """Return a running node in a folder with a space in its name; tests must leave it running."""
    folder = tmp_path_factory.mktemp("a broker") / "my lab"
    node = Node(folder, port=0, management_port=0, prefix=prefix)
    node.start()
    yield node
    node.wipe()


@pytest.fixture
def make_node(tmp_path, prefix):
    """Return a function that makes a node for one test, without the management page."""
    nodes = []

    def make(**more):
        nodes.append(Node(tmp_path / "n", port=0, prefix=prefix, plugins=(), **more))
        return nodes[-1]

    yield make
    for node in nodes:
        node.kill()


@pytest.fixture
def broker(tmp_path, prefix):
    """Return a function that runs labs/broker.py with its own folder for brokers."""
    folder = tmp_path / "brokers"
    folder.mkdir()
    (folder / "unpacked").symlink_to(CACHE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}

    def run(*arguments, **more):
        return subprocess.run(
            [sys.executable, ROOT / "labs" / "broker.py", *arguments],
            env=environment | {"QUEUE_LAB_BROKER_DIR": str(folder)} | more,
            capture_output=True,
            text=True,
            timeout=100,
        )

    run.folder = folder
    yield run
    for state in folder.glob("*/node.json"):
        Node(state.parent).kill()


@pytest.fixture
def private_options(prefix, version):
    """Return the options that make `up` start a private node even if Docker runs.

    The page gets a port of its own, as outgoing connections may use the default one.
    """
    page = ["--management-port", str(free_port())]
    return ["--via", "unpacked" if prefix else "installed", *page] + (
        ["--version", version] if version and prefix else []
    )


def connect(port):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))


def listening_addresses(pid):
    """Return the addresses on which a process listens, in /proc's hexadecimal form."""
    mine = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return [
        line[1].split(":")[0] for line in lines if line[3] == "0A" if f"socket:[{line[9]}]" in mine
    ]


# ---- the command line ----


def test_up_kill_restart_and_down_keep_the_data_and_wipe_removes_them(broker, private_options):
    port = free_port()
    up = broker("up", "--port", str(port), *private_options)
    assert up.returncode == 0, up.stderr
    assert f"way: {private_options[1]}" in up.stdout
    assert f"./producer.py --port {port} --queue hello aaa bb c" in up.stdout
    assert f"amqp://guest:guest@localhost:{port}/%2F" in up.stdout
    with connect(port) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True)
        persistent = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("", "kept", b"still here", persistent)

    again = broker("up", "--port", str(port))
    assert (again.returncode, "already up" in again.stdout) == (0, True)
    status = broker("status")
    assert (status.returncode, f"up on port {port}" in status.stdout) == (0, True)
    # RabbitMQ writes its log up to 2 s late.
    wait_until(lambda: "RabbitMQ" in broker("logs").stdout)

    assert broker("restart").returncode == 0
    assert broker("kill").returncode == 0
    assert not amqp_answers(port)
    status = broker("status")
    assert (status.returncode, "queues and messages are kept" in status.stderr) == (3, True)

    up = broker("up")  # the same transport and ports as before
    assert (up.returncode, f"port {port} " in up.stdout) == (0, True), up.stderr
    with connect(port) as connection:
        assert connection.channel().basic_get("kept", auto_ack=True)[2] == b"still here"

    assert broker("down").returncode == 0
    assert broker("down").returncode == 0  # a second time does no harm
    assert (broker.folder / "lab" / "data").exists()
    assert broker("down", "--wipe").returncode == 0
    assert not (broker.folder / "lab").exists()
    assert (broker.folder / "unpacked").exists()


def test_up_uses_a_broker_that_is_there_and_leaves_it_alone(broker, node):
    port = str(node.port)
    up = broker("up", "--port", port)
    assert up.returncode == 0, up.stderr
    assert "way: existing" in up.stdout
    assert broker("status", "--port", port).returncode == 0
    down = broker("down", "--port", port)
    assert (down.returncode, "is not ours" in down.stdout) == (0, True)
    for verb in ("kill", "restart"):
        refused = broker(verb, "--port", port)
        assert (refused.returncode, "somebody else's" in refused.stderr) == (3, True)
    assert amqp_answers(node.port)
    other = "4.3" if greet(node.port).startswith("3.10") else "3.10"
    wrong = broker("up", "--port", port, "--version", other)
    assert (wrong.returncode, f"not {other}" in wrong.stderr) == (3, True)


def test_a_port_that_is_taken_is_named(broker, private_options):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for way in ([], private_options):
            up = broker("up", "--port", str(port), *way)
            assert up.returncode == 3
            assert f"port {port} is taken" in up.stderr
    assert not (broker.folder / "lab" / "node.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "required: COMMAND"),
        (["up", "--port", "banana"], 2, "'banana' is not a port"),
        (["up", "--node", "../../etc"], 2, "a name of a-z"),
        (["up", "--version", "9.9"], 2, "invalid choice"),
        (["up", "--via", "existing", "--port", "1"], 3, "nothing answers AMQP on port 1"),
        (["status", "--port", "1"], 3, "node 'lab' is not up"),
        (["kill", "--port", "1"], 3, "try: labs/broker.py up"),
        (["restart", "--port", "1", "--node", "b"], 3, "try: labs/broker.py up --node b"),
        (["logs", "--port", "1"], 3, "node 'lab' is not up"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(broker, arguments, code, said):
    done = broker(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_during_up_leaves_nothing_running(broker, private_options, tmp_path):
    port = free_port()
    up = Script(
        [sys.executable, ROOT / "labs" / "broker.py", "up", "--port", str(port), *private_options],
        os.environ | {"QUEUE_LAB_BROKER_DIR": str(broker.folder)},
        own_session=True,
    )
    state = broker.folder / "lab" / "node.json"
    try:
        wait_until(lambda: state.exists() or up.process.poll() is not None, "it is starting")
        born = [tuple(json.loads(state.read_text())[key]) for key in ("node", "epmd")]
    finally:
        os.killpg(up.process.pid, signal.SIGINT)
        code = up.wait()
    assert code == 130
    assert "Ctrl-C" in up.text("stderr")
    assert not any(process.alive(*one) for one in born)


FAKE_DOCKER = """#!/bin/sh
echo "$* port=$LAB_PORT page=$LAB_MANAGEMENT_PORT" >>"$DOCKER_LOG"
case "$*" in
  version) exit ${DOCKER_SERVER:-0};;
  *ps*) echo 0123456789ab;;
esac
"""


def test_docker_compose_gets_the_ports_and_a_project_for_each_node(broker, node, tmp_path):
    fake, log = tmp_path / "bin" / "docker", tmp_path / "log"
    fake.parent.mkdir()
    fake.write_text(FAKE_DOCKER)
    fake.chmod(0o755)
    here = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "DOCKER_LOG": str(log)}
    ports = ["--port", str(node.port), "--management-port", str(node.management_port)]
    seen = f"port={node.port} page={node.management_port}"

    for name, project in (("lab", ""), ("b", "--project-name queue-lab-b ")):
        up = broker("up", "--via", "docker", "--node", name, *ports, **here)
        assert up.returncode == 0, up.stderr
        assert "way: docker" in up.stdout
        assert f"compose {project}up --detach --wait {seen}" in log.read_text()
        # From here on it remembers the transport and the ports.
        assert "way: docker" in broker("status", "--node", name, **here).stdout
        for verb in ("restart", "kill", "logs", "down"):
            done = broker(verb, "--node", name, **here)
            assert done.returncode == 0, done.stderr
            assert f"compose {project}{verb} {seen}" in log.read_text()
        assert broker("down", "--wipe", "--node", name, **here).returncode == 0
        assert f"compose {project}down --volumes {seen}" in log.read_text()
        assert not (broker.folder / name).exists()

    asleep = broker("up", "--via", "docker", *ports, DOCKER_SERVER="1", **here)
    assert (asleep.returncode, "engine does not answer" in asleep.stderr) == (3, True)


# ---- the node ----


def test_a_node_is_private_to_its_machine_and_its_user(node):
    assert node.is_running()
    assert node.version >= (3, 10)
    assert page_answers(node.management_port)
    assert "guest" in node.ctl("-q", "list_users")
    assert os.getsid(node.pid) == node.pid  # out of reach of a terminal's Ctrl-C and hangup
    allowed = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    for pid in (node.pid, node.state["epmd"][0]):
        assert set(listening_addresses(pid)) <= allowed
    assert node.folder.stat().st_mode & 0o777 == 0o700
    cookie = node.folder / "home" / ".erlang.cookie"
    assert cookie.stat().st_mode & 0o777 == 0o400
    for name in ("rabbitmq.conf", "advanced.config", "node.json"):
        assert (node.folder / name).stat().st_mode & 0o777 == 0o600
    for pid in [node.pid, *process.descendants(node.pid)]:
        assert cookie.read_bytes() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_node_finds_its_plugins_and_what_they_need_only(node):
    linked = {path.name.partition("-")[0] for path in (node.folder / "plugins").iterdir()}
    assert {"rabbit", "rabbit_common", "rabbitmq_management", "cowboy"} <= linked
    assert not {"rabbitmq_mqtt", "rabbitmq_stomp", "prometheus"} & linked


def test_a_node_loads_the_code_of_its_plugins_at_once(node):
    command = Path(f"/proc/{node.pid}/cmdline").read_bytes()
    assert b"-run\0file\0script\0preload\0" in command
    assert Path(f"/proc/{node.pid}/cwd").resolve() == node.folder.resolve()
    preload = (node.folder / "preload").read_text()
    assert "rabbitmq_management" in preload and "mnesia" in preload
    assert set(re.findall(r"\w+", node.ctl("eval", preload))) == {"ok"}
    assert node.ctl("eval", 'os:getenv("ERL_AFLAGS").') == "false\n"  # nor does what it starts


def test_a_node_that_is_killed_while_it_looks_after_epmd_leaves_none(make_node):
    node = make_node()
    node.start()
    node.ctl("eval", "spawn(fun Look() -> rabbit_nodes:ensure_epmd(), Look() end), ok.")
    if node.version < (4,):  # on RabbitMQ 4 none was seen
        wait_until(lambda: any(map(is_epmd_starter, process.descendants(node.pid))))
    node.kill()
    assert is_free(node.state["epmd_port"])


def is_epmd_starter(pid: int) -> bool:
    try:
        return b"epmd-starter" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_any_process_can_control_a_node_and_kill_leaves_nothing(make_node):
    node = make_node(settings="heartbeat = 17\n")
    node.start()
    pids = [node.pid, node.state["epmd"][0], *process.descendants(node.pid)]
    assert len(pids) > 2  # including Erlang's helpers
    assert "{heartbeat,17}" in node.ctl("-q", "environment")

    same = Node.load(node.folder)
    assert (same.pid, same.port, same.version) == (node.pid, node.port, node.version)
    os.kill(node.pid, signal.SIGSTOP)
    assert same.is_running() and not amqp_answers(node.port)
    same.kill()
    assert not node.is_running()
    assert not any(process.birth(pid) for pid in pids)
    same.kill()  # killing it twice does no harm


def test_a_start_that_fails_gives_the_reason(make_node):
    node = make_node(settings="no_such_key = 1\n")
    with pytest.raises(Trouble, match="tried to set no_such_key") as caught:
        node.start()
    assert "output.log" in caught.value.hint
    assert not node.is_running()
    assert not process.alive(*node.state["epmd"])


def test_a_pid_that_is_somebody_elses_by_now_is_never_signalled(tmp_path):
    with subprocess.Popen(["sleep", "100"]) as stranger:
        old = [stranger.pid, "some other boot 12345"]
        state = {"node": old, "epmd": old, "name": "lab", "port": 1, "management_port": 2}
        (tmp_path / "node.json").write_text(json.dumps(state | {"prefix": "", "version": [3, 10]}))
        node = Node.load(tmp_path)
        assert not node.is_running()
        node.kill()
        node.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_data_of_a_newer_rabbitmq_are_refused(make_node):
    node = make_node()
    (node.folder / "data" / "lab@localhost").mkdir(parents=True)
    (node.folder / "node.json").write_text(json.dumps({"version": [99, 0, 0]}))
    with pytest.raises(Trouble, match="holds data of RabbitMQ 99.0.0"):
        node.start()


@pytest.mark.parametrize(("version", "there"), [((3, 10, 8), False), ((4, 3, 6), True)])
def test_an_old_rabbitmq_does_not_get_the_keys_it_does_not_know(
    tmp_path, monkeypatch, version, there
):
    monkeypatch.setattr(Node, "version", version)
    lines = Node(tmp_path, settings="loopback_users.guest = true\n")._configuration()
    assert any(key.startswith("deprecated_features.") for key in lines) is there
    assert lines["loopback_users.guest"] == "loopback_users.guest = true"  # our settings win


def test_a_free_port_is_given_to_one_program_only(monkeypatch):
    port = free_port()
    choices = iter([port, port + 1, port + 2, port + 3])
    monkeypatch.setattr("random.randrange", lambda *_: next(choices))
    assert free_port() != port
    with socket.create_server(("127.0.0.1", port)):  # but its owner's broker may listen there
        assert not is_free(port)
    assert is_free(port)


# ---- unpacking packages ----


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a package of one file that apt seems to have downloaded."""
    content = tmp_path / "hello"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN" / "control").write_text(
        "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\n"
        "Description: x\n"
    )
    (content / "usr").mkdir()
    (content / "usr" / "hello").write_text("hello\n")
    subprocess.run(["dpkg-deb", "--build", content], check=True, capture_output=True)
    monkeypatch.setattr(debian._Apt, "download", lambda self, packages: [tmp_path / "hello.deb"])
    return tmp_path / "trees" / "hello"


def test_an_interrupted_unpacking_does_not_count(package):
    def interrupt(tree):
        assert (tree / "usr" / "hello").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        debian.unpack(["hello"], package, finish=interrupt)
    assert not package.exists()
    debian.unpack(["hello"], package)
    assert (package / "usr" / "hello").read_text() == "hello\n"
    assert sorted(path.name for path in package.parent.iterdir()) == [".hello.lock", "hello"]


def test_two_at_once_unpack_once(package):
    code = """if True:
        import sys, time
        from pathlib import Path
        from kit.broker import debian
        debian._Apt.download = lambda self, packages: [Path(sys.argv[1])]
        def finish(tree): print("unpacked by me"); time.sleep(0.3)
        debian.unpack(["hello"], Path(sys.argv[2]), finish=finish)
    """
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, package.parents[1] / "hello.deb", package],
            env=os.environ | {"PYTHONPATH": str(ROOT / "labs")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    printed = [one.communicate(timeout=20)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert "".join(printed).count("unpacked by me") == 1
    assert (package / "usr" / "hello").exists()


def test_a_full_disk_is_said(package, monkeypatch):
    full = "echo tar: x: Cannot write: No space left on device; exit 2"
    monkeypatch.setattr(
        debian, "_run", lambda command, log, run=debian._run: run(["sh", "-c", full], log)
    )
    with pytest.raises(Trouble, match="no space left on the disk"):
        debian.unpack(["hello"], package)
    assert not package.exists()


def test_unpacked_programs_work_where_the_tree_was_moved_to(prefix, tmp_path):
    if prefix is None:
        pytest.skip("RabbitMQ is installed here: there is no unpacked tree")
    moved = tmp_path / "somewhere else"
    moved.symlink_to(prefix)
    found = rabbitmq.find(moved)
    assert found.version == rabbitmq.find(prefix).version
    done = subprocess.run(
        [found.erlang / "erl", "-noinput", "-eval", 'io:format("~s", [code:root_dir()]), halt().'],
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{moved}/usr/lib/erlang", done.stderr
