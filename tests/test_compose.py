"""Test the compose files and .env.example: valid, safe by default, consistent with the rest."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from kit.broker.node import Node

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
LABS = sorted((ROOT / "labs").glob("*/compose.yml"))
IMAGES = ROOT / "labs" / "Dockerfile"


def service() -> dict:
    """Return the broker's entry in docker-compose.yml."""
    return YAML(typ="safe").load(COMPOSE)["services"]["rabbitmq"]


def defaults() -> dict[str, str]:
    """Return the variables of docker-compose.yml and their default values."""
    return dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text(encoding="utf-8")))


def in_place(text: str, **chosen: str) -> str:
    """Substitute the variables in docker-compose.yml by their values."""
    values = defaults() | chosen
    return re.sub(r"\$\{(\w+):-[^}]*\}", lambda found: values[found[1]], text)


def mounts() -> dict[str, str]:
    """Return the files mounted into the container, as source and target."""
    volumes = [volume for volume in service()["volumes"] if isinstance(volume, dict)]
    return {volume["source"]: volume["target"] for volume in volumes}


def call(*command: str, **options) -> subprocess.CompletedProcess:
    """Run a command in the kit's folder, and capture its output."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


def validate(file: Path) -> subprocess.CompletedProcess:
    """Validate a file against the schema of the Compose specification."""
    schema = ["--builtin-schema", "vendor.compose-spec"]
    return call(sys.executable, "-m", "check_jsonschema", *schema, str(file))


def health_check(node: Node) -> int:
    """Run docker-compose.yml's health check on a private node, and return its exit code."""
    how, program, *arguments = service()["healthcheck"]["test"]
    assert how == "CMD"
    environment = {
        "PATH": f"{node.rabbitmq.erlang}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(node.folder / "home"),  # the folder of the node's cookie
        "ERL_EPMD_PORT": str(node.state["epmd_port"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"{node.name}@localhost",
        "RABBITMQ_SCRIPTS_DIR": str(node.rabbitmq.scripts),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
    }
    return call(str(node.rabbitmq.scripts / program), *arguments, env=environment).returncode


def test_it_meets_the_compose_specification():
    done = validate(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("hostname:", "hostnam:"),
        ("    ports:\n      # AMQP", "    port:\n      # AMQP"),
        ("profiles:", "profile:"),
        ("start_interval:", "startinterval:"),
        ("retries: 3", "retries: [3]"),
        ('test: ["CMD",', "test: 5 #"),
        ("read_only: true", "read_only: {}"),
        ("\nvolumes:", "\nvolume:"),
    ],
)
def test_a_mistake_in_it_would_be_noticed(tmp_path, right, wrong):
    text = COMPOSE.read_text(encoding="utf-8")
    assert text.count(right) == 1
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(text.replace(right, wrong), encoding="utf-8")
    done = validate(broken)
    assert done.returncode == 1, done.stdout + done.stderr
    assert wrong.split(":")[0].strip() in done.stdout


def test_the_data_outlives_the_container():
    assert service()["hostname"]  # RabbitMQ's data folder is named after it
    named, target = service()["volumes"][0].split(":")
    assert target == "/var/lib/rabbitmq"
    assert named in YAML(typ="safe").load(COMPOSE)["volumes"]


def test_only_this_machine_gets_in_by_default():
    assert {in_place(port).rsplit(":", 2)[0] for port in service()["ports"]} == {"127.0.0.1"}


def test_the_emulator_of_pubsub_starts_only_when_asked_and_is_for_this_machine_only():
    emulator = YAML(typ="safe").load(COMPOSE)["services"]["pubsub"]
    assert emulator["profiles"] == ["pubsub"]
    (port,) = emulator["ports"]
    assert in_place(port, LAB_BIND="0.0.0.0") == "127.0.0.1:8085:8085"
    assert "--host-port=0.0.0.0:8085" in emulator["command"]  # inside the container


def test_the_scripts_reach_it_without_options():
    page = call(sys.executable, "producer.py", "--help", env=os.environ | {"COLUMNS": "200"}).stdout
    assert re.search(r"--host HOST .*default: localhost", page)
    options = {"port": "LAB_PORT", "username": "LAB_USER", "password": "LAB_PASSWORD"}
    for option, variable in options.items():
        assert re.search(rf"--{option} .*default: {defaults()[variable]}\b", page), option


def test_opening_the_broker_leaves_the_management_page_closed():
    amqp, page = (in_place(port, LAB_BIND="0.0.0.0") for port in service()["ports"])
    assert (amqp, page) == ("0.0.0.0:5672:5672", "127.0.0.1:15672:15672")


def test_the_health_check_says_yes_only_when_the_broker_is_ready(own_broker):
    assert health_check(own_broker.node) == 0
    own_broker.node.ctl("stop_app")  # Erlang runs, RabbitMQ does not: as in the first seconds
    try:
        assert health_check(own_broker.node) != 0
    finally:
        own_broker.node.ctl("start_app")


def test_mounted_files_are_there_and_in_git():
    assert mounts()
    for source in mounts():
        assert (ROOT / source).is_file(), source
        assert call("git", "ls-files", "--error-unmatch", source).returncode == 0, (
            f"{source} is not in git"
        )


def test_the_kit_has_the_last_word_after_the_image_s_own_settings():
    for target in mounts().values():
        folder, name = target.rsplit("/", 1)
        assert folder == "/etc/rabbitmq/conf.d"
        assert name.endswith(".conf")  # RabbitMQ reads no other files there
        assert name > "10-defaults.conf"


def test_every_setting_is_explained_with_its_default():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    explained = dict(re.findall(r"^#?(LAB_\w+)=(.*)$", "\n".join(lines), re.MULTILINE))
    assert explained == defaults()
    for before, line in zip(lines, lines[1:], strict=False):
        if re.match(r"#?LAB_\w+=", line):
            assert before.startswith("# "), f"{line} has no explanation above it"


def test_a_copy_of_the_example_changes_nothing():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line and not line.startswith("#")]


def test_the_file_with_the_password_stays_out_of_git():
    assert call("git", "check-ignore", ".env").returncode == 0
    assert call("git", "check-ignore", ".env.example").returncode == 1


# ---- labs 9 to 11


def stages() -> dict[str, str]:
    """Return the stages of labs/Dockerfile, with the lines of each."""
    parts = re.split(r"^FROM \S+ AS (\S+)\n", IMAGES.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def command(stage: str) -> list[str]:
    return json.loads(re.search(r"^CMD (.*)", stages()[stage], re.MULTILINE)[1])


@pytest.fixture(params=LABS, ids=[path.parent.name for path in LABS])
def lab_file(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def programs(lab_file: Path) -> dict[str, dict]:
    """Return the services of a lab's compose file, except the broker."""
    services = YAML(typ="safe").load(lab_file)["services"]
    del services["rabbitmq"]
    return services


def test_there_are_three_of_them():
    assert [path.parent.name[:2] for path in LABS] == ["09", "10", "11"]


def test_a_lab_s_file_meets_the_compose_specification(lab_file: Path):
    done = validate(lab_file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_lab_s_broker_is_the_kit_s(lab_file: Path):
    broker = YAML(typ="safe").load(lab_file)["services"]["rabbitmq"]
    for key in ("image", "hostname", "healthcheck", "stop_grace_period"):
        assert broker[key] == service()[key], key
    assert broker["volumes"][0] == service()["volumes"][0]


def test_a_lab_s_file_names_volumes_that_it_has(lab_file: Path):
    file = YAML(typ="safe").load(lab_file)
    used = {volume for one in file["services"].values() for volume in one.get("volumes", [])}
    assert {volume.partition(":")[0] for volume in used} == set(file["volumes"])


def test_a_lab_s_services_are_for_this_machine_only(lab_file: Path, programs: dict[str, dict]):
    broker = YAML(typ="safe").load(lab_file)["services"]["rabbitmq"]
    for one in (*programs.values(), broker):
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))


def test_every_service_has_a_stage_that_runs_its_program(lab_file: Path, programs: dict[str, dict]):
    for name, one in programs.items():
        build = one["build"]
        assert (lab_file.parent / build["context"]).resolve() == ROOT
        assert ROOT / build["dockerfile"] == IMAGES
        assert build["target"] == name
        program, *options = command(name)
        shown = call(sys.executable, str(lab_file.parent / program), "--help").stdout
        for option in options:
            assert not option.startswith("--") or option in shown, option


def test_every_service_that_answers_is_asked_how_it_is(programs: dict[str, dict]):
    for name, one in programs.items():
        assert ("healthcheck" in one) == ("--http-bind" in command(name)), name
        if "healthcheck" in one:
            port = one["ports"][0].rpartition(":")[2]
            assert f":{port}/health" in one["healthcheck"]["test"][-1]


def test_every_stage_is_used():
    built_on = set(re.findall(r"^FROM (\S+) AS", IMAGES.read_text(encoding="utf-8"), re.MULTILINE))
    targets = {name for path in LABS for name in YAML(typ="safe").load(path)["services"]}
    assert set(stages()) == (built_on | targets) & set(stages())


def test_the_images_are_made_of_files_that_are_not_left_out():
    ignored = IMAGES.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    for sources in re.findall(r"^COPY (.+) \S+$", IMAGES.read_text(encoding="utf-8"), re.MULTILINE):
        for source in sources.split():
            assert list(ROOT.glob(source)), source
            assert source.partition("/")[0] in let_in, source
