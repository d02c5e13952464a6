"""Test user errors: one clear line, a hint, and the right exit code."""

import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import ROOT, Broker, Lab, Run, Script, open_lab, start_broker, wait_until
from kit.broker.network import free_port
from kit.exercise.proxy import Proxy

SCRIPTS = "producer.py", "consumer.py", "qprocessor.py"
READERS = SCRIPTS[1:]
each_script = pytest.mark.parametrize("script", SCRIPTS)
each_reader = pytest.mark.parametrize("script", READERS)
PASSWORD = "hunter2-and-more"
SUCCEEDED = {"producer.py": "Sent 'aaa'", "consumer.py": "Waiting", "qprocessor.py": "Waiting"}
HERE = "--host", "127.0.0.1", "--port"

Fail = Callable[..., tuple[str, str]]


def in_turn(name: str, values: list) -> pytest.MarkDecorator:
    """Parametrize over values, each with the next script, as all share the tested block."""
    return pytest.mark.parametrize(("script", name), list(zip(itertools.cycle(SCRIPTS), values)))


def message(script: str) -> list[str]:
    """Return the arguments that a script needs besides options: a producer needs a message."""
    return ["aaa"] if script == "producer.py" else []


@pytest.fixture
def fail(run: Run) -> Fail:
    """Return a function that runs a script that must fail, and returns its error line and hint.

    fail(script, *options, code=..., queue=..., and the options of `run`)

    An error that is not worth a retry ends the script within the deadline, half of --retry-for.
    """

    def check(script, *options, code: int, queue="q", **how):
        done = run(script, "--queue", queue, *options, *message(script), **how)
        assert done.wait() == code, done.text()
        return the_error(done)

    return check


def the_error(done: Script) -> tuple[str, str]:
    """Check that a script printed one error with its hint, and otherwise only trouble lines."""
    assert "Traceback" not in done.text()
    error, hint = done.text("stderr").splitlines()[-2:]
    assert re.match(r"\w+\.py: error: \S", error), done.text()
    assert re.match(r"  try: \S", hint)
    assert len(done.find(": error: ")) == 1
    others = done.text("stderr").splitlines()[:-2]
    assert all(line.startswith(" [!] ") for line in others)
    return error, hint


@contextlib.contextmanager
def user(broker: Broker, vhost: str, **rights: str) -> Iterator[list[str]]:
    """Create a user with few rights; yield the options to log in."""
    name = f"u-{uuid.uuid4().hex[:8]}"
    broker.api("PUT", f"users/{name}", {"password": PASSWORD, "tags": ""})
    if rights:
        nothing = {"configure": "^$", "write": "^$", "read": "^$"}
        broker.api("PUT", f"permissions/{vhost}/{name}", nothing | rights)
    yield ["--username", name, "--password", PASSWORD]
    broker.api("DELETE", f"users/{name}")


# ---- the broker cannot be reached


@each_script
def test_a_closed_port_is_named(fail: Fail, script):
    port = free_port()
    error, hint = fail(script, *HERE, port, "--retry-for", 0, code=3)
    assert error == (
        f"{script}: error: cannot reach RabbitMQ at 127.0.0.1:{port} (Connection refused)"
    )
    assert f"labs/broker.py up --port {port}" in hint and "docker compose up" in hint


@each_script
def test_the_first_try_that_fails_says_what_to_do_and_it_is_said_once(run: Run, script):
    port = free_port()
    where = "--queue", "q", *HERE, port
    done = run(script, *where, "--retry-for", "2.5", *message(script))
    done.wait_for(
        f" [!] Cannot reach RabbitMQ at 127.0.0.1:{port} (Connection refused); trying for 2.5 s"
        f" (try: labs/broker.py up --port {port}, or docker compose up -d --wait)"
    )
    assert done.wait() == 3
    the_error(done)
    assert len(done.text("stderr").splitlines()) == 3  # that line, the error, the hint


@in_turn("host", ["nosuch.invalid", "broker..example", "a" * 70])
def test_a_mistyped_host_is_named(fail: Fail, script, host):
    error, hint = fail(script, "--host", host, "--retry-for", 0, code=3)
    assert f"cannot reach RabbitMQ at {host}:5672 (" in error
    assert "--host" in hint and "labs/broker.py" not in hint


@each_script
def test_the_port_of_the_management_page_is_named(fail: Fail, broker: Broker, script):
    port = broker.management_port
    error, _ = fail(script, *HERE, port, "--retry-for", 0, code=3)
    assert f"cannot reach RabbitMQ at 127.0.0.1:{port} (" in error


def test_a_port_that_stays_silent_is_given_up(run: Run):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        options = "--queue", "q", *HERE, port, "--retry-for", 0
        for done in [run(script, *options, *message(script)) for script in SCRIPTS]:
            assert done.wait() == 3
            error, _ = the_error(done)
            assert f"cannot reach RabbitMQ at 127.0.0.1:{port} (" in error
            assert len(done.lines) == 2


def test_several_hosts_are_tried_in_turn(lab: Lab, run: Run):
    lab.declare()
    where = "--host", "127.0.0.9", "--host", "127.0.0.1", "--port", lab.broker.port
    for script in SCRIPTS:
        there = run(script, "--queue", "q", *where, "--vhost", lab.vhost, *message(script))
        there.wait_for(SUCCEEDED[script])
        assert there.text("stderr") == ""
        there.kill()


@each_script
def test_when_no_host_answers_all_are_named(fail: Fail, script):
    hosts = "--host", "127.0.0.8", "--host", "127.0.0.9"
    port = free_port()
    error, _ = fail(script, *hosts, "--port", port, "--retry-for", 0, code=3)
    assert f"127.0.0.8:{port}, 127.0.0.9:{port} (Connection refused)" in error


def test_a_broker_that_starts_later_is_waited_for(lab: Lab, run: Run):
    lab.declare()
    port = free_port()
    url = lab.url.replace(f":{lab.broker.port}/", f":{port}/")
    waiting = [run(script, "--queue", "q", *message(script), url=url) for script in SCRIPTS]
    for script in waiting:
        script.wait_for(f" [!] Cannot reach RabbitMQ at 127.0.0.1:{port} (Connection refused); try")
    proxy = Proxy(lab.broker.port, port)
    for name, script in zip(SCRIPTS, waiting, strict=True):
        script.wait_for(SUCCEEDED[name])
        assert len(script.text("stderr").splitlines()) == 1
    proxy.close()


# ---- the broker refuses


@each_script
@pytest.mark.parametrize(
    ("wrong", "named", "hint"),
    [
        (["--username", "guest", "--password", PASSWORD], "Login was refused", "--password"),
        (["--vhost", "nosuch"], "vhost nosuch not found", "--vhost"),
        (["--vhost", ""], "vhost", "--vhost"),
        (["--durable", "--queue-type", "quorum"], "'quorum'", "another --queue name"),
        (["--queue", "amq.mine"], "reserved prefix 'amq.*'", "another --queue name"),
    ],
    ids=["password", "vhost", "empty vhost", "queue", "amq."],
)
def test_a_refusal_ends_it_at_once(lab: Lab, fail: Fail, script, wrong, named, hint):
    lab.declare()
    error, advice = fail(script, *wrong, code=4, lab=lab)
    assert f"RabbitMQ at 127.0.0.1:{lab.broker.port} refuses: " in error
    assert named in error and hint in advice
    assert PASSWORD not in error


@each_reader
@pytest.mark.parametrize("options", [[], ["--acknowledge", "--prefetch", "100"]], ids=str)
def test_a_stream_is_read_too(lab: Lab, run: Run, script, options):
    lab.declare(arguments={"x-queue-type": "stream"})
    reader = run(script, "--queue", "q", *options, lab=lab)
    wait_until(lambda: lab.broker.api("GET", f"consumers/{lab.vhost}"), "it consumes")
    lab.publish("a")  # a stream is read from its end
    reader.wait_for("Received 'a'")
    assert reader.text("stderr") == ""


@each_script
def test_a_user_without_rights_in_the_vhost_is_named(fail: Fail, lab: Lab, script):
    with user(lab.broker, lab.vhost) as login:
        error, hint = fail(script, *login, code=4, lab=lab)
        assert login[1] in error and lab.vhost in error
        assert "--vhost" in hint


@each_script
def test_a_user_who_may_not_create_the_queue_is_told_so(fail: Fail, lab: Lab, script):
    with user(lab.broker, lab.vhost, read=".*", write=".*") as login:
        error, hint = fail(script, *login, "--durable", code=4, lab=lab)
        assert f"access to queue 'q' in vhost '{lab.vhost}' refused for user '{login[1]}'" in error
        assert "--username and --vhost" in hint


def test_a_user_who_may_not_write_is_told_so(fail: Fail, lab: Lab):
    lab.declare()
    with user(lab.broker, lab.vhost, configure=".*", read=".*") as login:
        error, _ = fail("producer.py", *login, code=4, lab=lab)
        assert f"in vhost '{lab.vhost}' refused for user '{login[1]}'" in error
    assert lab.ready() == 0


@each_reader
def test_a_user_who_may_not_read_is_told_so(fail: Fail, lab: Lab, script):
    lab.declare()
    with user(lab.broker, lab.vhost, configure=".*", write=".*") as login:
        error, _ = fail(script, *login, code=4, lab=lab)
        assert f"access to queue 'q' in vhost '{lab.vhost}' refused for user '{login[1]}'" in error


@each_script
def test_a_queue_that_has_another_type_is_named_with_both_values(fail: Fail, lab: Lab, script):
    lab.declare(arguments={"x-queue-type": "quorum"})
    error, hint = fail(script, "--durable", "--queue-type", "classic", code=4, lab=lab)
    assert f"inequivalent arg 'x-queue-type' for queue 'q' in vhost '{lab.vhost}'" in error
    assert re.search("received .*'classic'.* but current is .*'quorum'", error)
    assert "another --queue name, or delete" in hint


@each_script
@pytest.mark.usefixtures("transient_queues")
def test_a_queue_that_is_not_durable_is_named_with_both_values(fail: Fail, lab: Lab, script):
    lab.declare(durable=False)
    error, hint = fail(script, "--durable", code=4, lab=lab)
    assert f"inequivalent arg 'durable' for queue 'q' in vhost '{lab.vhost}'" in error
    assert "received 'true' but current is 'false'" in error
    assert "another --queue name, or delete" in hint


@each_script
@pytest.mark.parametrize("options", [[], ["--durable"]])
def test_an_exclusive_queue_of_someone_else_is_named(fail: Fail, lab: Lab, script, options):
    lab.declare(durable=False, exclusive=True)
    error, hint = fail(script, *options, code=4, lab=lab)
    assert re.search(f"queue 'q' in vhost '{lab.vhost}'", error)
    assert "another --queue name" in hint


@pytest.fixture(scope="session")
def denying_broker(brokers_folder: Path) -> Iterator[Broker]:
    """Return a broker that refuses transient queues, like today's official image."""
    options = {"version": "4.3", "deny_transient": True}
    broker = start_broker(brokers_folder / "denying" / "node", options)
    yield broker
    broker.node.kill()


@each_script
def test_a_broker_that_denies_transient_queues_is_explained(
    fail: Fail, run: Run, denying_broker: Broker, script
):
    lab = open_lab(denying_broker)
    error, hint = fail(script, code=4, lab=lab)
    assert "`transient_nonexcl_queues` is deprecated" in error
    assert "add --durable" in hint and "labs/rabbitmq/kit.conf" in hint
    there = run(script, "--queue", "q", "--durable", *message(script), lab=lab)
    there.wait_for(SUCCEEDED[script])


# ---- the options are wrong

WRONG_OPTIONS = [
    *zip(itertools.cycle(SCRIPTS), (
        "--port=0", "--port=-1", "--port=70000", "--port=x", "--heartbeat=-1", "--heartbeat=70000",
        "--retry-for=-1", "--retry-for=nan", "--retry-for=inf", "--queue=", f"--queue={'q' * 300}",
        "--nosuch",
    )),
    *[(script, "--queue-type=stream") for script in SCRIPTS],
    *[("producer.py", option) for option in (
        "--count=0", "--count=-1", "--count=1.5", "--interval=-1", "--interval=nan",
    )],
    *[(script, option) for script in READERS for option in (
        "--limit=0", "--limit=-1", "--prefetch=0", "--prefetch=-1", "--prefetch=70000",
    )],
    ("qprocessor.py", "--lose-every=0"),
    ("qprocessor.py", "--seconds-per-character=-1"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "option"), WRONG_OPTIONS)
def test_a_wrong_option_is_named(fail: Fail, script, option):
    error, hint = fail(script, "--port", free_port(), option, code=2)
    assert option.split("=")[0] in error
    assert hint == f"  try: {script} --help"


@each_script
@pytest.mark.parametrize(
    ("typed", "wrong", "meant"),
    [
        (["-queue", "hello"], "-queue", "--queue"),
        (["-queue", "hello", "--queue", "q"], "-queue", "--queue"),
        (["--qeue", "hello"], "--qeue", "--queue"),
        (["--queue", "q", "--durabel"], "--durabel", "--durable"),
    ],
)
def test_a_misspelt_option_is_named_and_the_one_that_was_meant(
    run: Run, script, typed, wrong, meant
):
    done = run(script, *typed, *message(script))
    assert done.wait() == 2
    error, hint = the_error(done)
    assert error.endswith(f"error: there is no option {wrong}; did you mean {meant}?")
    assert hint == f"  try: {script} --help"


@in_turn("name", ["hello\r", "hello\n", "a\tb", "\x1b[31mred", "\x7f"])
def test_a_queue_name_with_control_characters_is_a_usage_error(fail: Fail, lab: Lab, script, name):
    error, _ = fail(script, queue=name, code=2, lab=lab)  # RabbitMQ would remove them
    assert "--queue" in error and repr(name) in error


@in_turn("option", ["--queue", "--host", "--vhost", "--username", "--password"])
def test_bytes_that_are_not_utf8_are_a_usage_error(fail: Fail, lab: Lab, script, option):
    latin1 = os.fsdecode("été".encode("latin-1"))
    error, _ = fail(script, "--retry-for", 0, option, latin1, code=2, lab=lab)
    assert option in error and "UTF-8" in error


@each_reader
def test_prefetch_needs_acknowledge(fail: Fail, script):
    error, _ = fail(script, "--prefetch", 1, code=2)
    assert "--prefetch needs --acknowledge" in error


def test_count_needs_messages(run: Run):
    done = run("producer.py", "--queue", "q", "--count", 2)
    assert done.wait() == 2
    assert "no MESSAGE to send" in the_error(done)[0]


@in_turn(
    "url",
    [
        f"amqp://guest:{PASSWORD}#@localhost",
        f"amqp://guest:{PASSWORD}/x@localhost",
        f"amqp://guest:{PASSWORD}?x@localhost",
        f"guest:{PASSWORD}@localhost",
        f"http://guest:{PASSWORD}@localhost",
        f"amqp://guest:{PASSWORD}@localhost:x",
        f"amqp://guest:{PASSWORD}@localhost?nosuch=1",
        f"amqp://guest:{PASSWORD}@[localhost",
        f"amqp://guest:{PASSWORD}@localhost:70000",
        PASSWORD,
    ],
)
@pytest.mark.parametrize("where", ["--url", "AMQP_URL"])
def test_a_url_that_is_none_is_explained_and_not_repeated(run: Run, script, url, where):
    more = {"env": {"AMQP_URL": url}} if where == "AMQP_URL" else {}
    options = ["--url", url] if where == "--url" else []
    done = run(script, "--queue", "q", *options, *message(script), **more)
    assert done.wait() == 2
    error, hint = the_error(done)
    assert f"error: {where} is not amqp://user:password@host:5672/vhost" in error
    assert "%23" in hint
    assert PASSWORD not in done.text()


@each_script
@pytest.mark.parametrize("where", ["--url", "AMQP_URL"])
def test_parts_win_over_a_url(lab: Lab, run: Run, script, where):
    lab.declare()
    parts = *HERE, lab.broker.port, "--vhost", lab.vhost, "--username", "guest"
    wrong = f"amqp://nobody:guest@nosuch.invalid:{free_port()}/nosuch"
    more = {"url": wrong} if where == "AMQP_URL" else {}
    options = ["--url", wrong] if where == "--url" else []
    there = run(script, "--queue", "q", *options, *parts, *message(script), **more)
    there.wait_for(SUCCEEDED[script])


# ---- standard input and output


def test_standard_input_closed_is_said_where_it_is_needed(lab: Lab, run: Run):
    lab.declare()
    done = run("producer.py", "--queue", "q", lab=lab, shell="<&-")
    assert done.wait() == 2
    assert "no MESSAGE to send" in the_error(done)[0]
    done = run("producer.py", "--queue", "q", "aaa", lab=lab, shell="<&-")
    assert done.wait() == 0
    for script in READERS:
        lab.publish("a")
        done = run(script, "--queue", "q", "-n", 1, lab=lab, shell="<&-")
        assert done.wait() == 0, done.text()


@each_script
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_output_closed_changes_nothing(lab: Lab, run: Run, script, closed):
    lab.declare()
    limit = [] if script == "producer.py" else ["-n", "1"]
    if limit:
        lab.publish("a")
    done = run(script, "--queue", "q", *limit, *message(script), lab=lab, shell=closed)
    assert done.wait() == 0
    assert done.text("stderr") == ""
    assert lab.ready() == (0 if limit else 1)


@each_reader
@pytest.mark.parametrize("options", [["-n", "2"], ["--acknowledge"]])
def test_output_into_a_full_disk_ends_a_reader_and_keeps_the_messages(
    lab: Lab, fail: Fail, script, options
):
    lab.declare()
    lab.publish("a", "b")
    error, _ = fail(script, *options, code=1, lab=lab, shell=">/dev/full")
    assert "No space left on device" in error
    wait_until(lambda: lab.ready() == 2, "both messages are still there")


# ---- passwords


@each_script
@pytest.mark.parametrize("form", ["--password", "--url", "AMQP_URL"])
@pytest.mark.parametrize("trouble", ["refused", "unreachable"])
def test_a_password_is_never_shown_not_even_with_verbose(lab: Lab, run: Run, script, form, trouble):
    port = lab.broker.port if trouble == "refused" else free_port()
    url = f"amqp://guest:{PASSWORD}@127.0.0.1:{port}/{lab.vhost}"
    options, more = {
        "--password": ([*HERE, port, "--username", "guest", "--password", PASSWORD], {}),
        "--url": (["--url", url], {}),
        "AMQP_URL": ([], {"url": url}),
    }[form]
    done = run(script, "--queue", "q", "-v", "--retry-for", 0, *options, *message(script), **more)
    assert done.wait() == (4 if trouble == "refused" else 3)
    assert PASSWORD not in done.text()
    assert len(done.find(f"{script}: error: ")) == 1
    assert done.find("Traceback")  # --verbose shows it


@each_script
def test_verbose_shows_no_password_where_all_goes_well(lab: Lab, run: Run, script):
    lab.declare()
    with user(lab.broker, lab.vhost, configure=".*", read=".*", write=".*") as login:
        there = run(script, "--queue", "q", "-v", *login, *message(script), lab=lab)
        there.wait_for(SUCCEEDED[script])
        assert PASSWORD not in there.text()
        there.interrupt()
        there.wait()


def asking(terminal, script: str, lab: Lab, name: str):
    where = *HERE, lab.broker.port, "--vhost", lab.vhost, "--queue", "q"
    words = *where, "--username", name, *message(script)
    asked = terminal(sys.executable, ROOT / script, *words)
    asked.wait_for(f"Password of {name}: ")
    return asked


@each_script
def test_a_password_is_asked_for_at_a_terminal_and_not_shown(lab: Lab, terminal, script):
    lab.declare()
    with user(lab.broker, lab.vhost, configure=".*", read=".*", write=".*") as login:
        asked = asking(terminal, script, lab, login[1])
        asked.type(f"{PASSWORD}\n")
        asked.wait_for(SUCCEEDED[script])
        assert PASSWORD not in asked.text


@each_script
@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_no_answer_to_the_question_for_a_password_is_an_answer(lab: Lab, terminal, script, key):
    asked = asking(terminal, script, lab, "ada")
    asked.type(key)
    assert asked.wait() == 130
    assert "Traceback" not in asked.text


# ---- TLS


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Path:
    """Return a folder with our own authority and its certificate for "localhost"."""
    folder = tmp_path_factory.mktemp("tls")
    new_key = "-newkey", "rsa:2048", "-nodes"
    openssl(
        folder, "req", "-x509", *new_key, "-days", "2", "-subj", "/CN=Lab authority",
        "-keyout", "ca.key", "-out", "ca.pem",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    openssl(
        folder, "req", *new_key, "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "csr.pem"
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl(
        folder, "x509", "-req", "-in", "csr.pem", "-days", "2", "-extfile", "names",
        "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "cert.pem",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def tls_lab(request, certificates: Path, brokers_folder: Path) -> Iterator[tuple[Lab, int]]:
    """Return a vhost on a broker that speaks TLS, and its TLS port."""
    port = free_port()
    settings = f"listeners.ssl.1 = 127.0.0.1:{port}\n" + "".join(
        f"ssl_options.{key} = {certificates / file}\n"
        for key, file in [
            ("cacertfile", "ca.pem"),
            ("certfile", "cert.pem"),
            ("keyfile", "key.pem"),
        ]
    )
    options = {"version": request.config.getoption("rabbitmq"), "deny_transient": False}
    broker = start_broker(brokers_folder / "tls" / "node", options, settings)
    lab = open_lab(broker)
    lab.declare()
    yield lab, port
    broker.node.kill()


@each_script
@pytest.mark.parametrize("form", ["--url", "parts"])
def test_tls_works_with_an_authority_of_ones_own(tls_lab, certificates, run: Run, script, form):
    lab, port = tls_lab
    ca = {"SSL_CERT_FILE": str(certificates / "ca.pem")}
    where, env = {
        "--url": (["--url", f"amqps://guest:guest@localhost:{port}/{lab.vhost}"], ca),
        "parts": (
            ["--host", "localhost", "--port", port, "--vhost", lab.vhost],
            ca | {"AMQP_URL": "amqps://guest:guest@nosuch.invalid"},
        ),
    }[form]
    there = run(script, "--queue", "q", *where, *message(script), env=env)
    there.wait_for(SUCCEEDED[script])


@each_script
def test_a_certificate_that_is_not_trusted_is_explained_and_not_tried_again(
    tls_lab, certificates, fail: Fail, script
):
    lab, port = tls_lab
    url = f"amqps://guest:{PASSWORD}@localhost:{port}/{lab.vhost}"
    error, hint = fail(script, "--url", url, code=4)
    assert f"RabbitMQ at localhost:{port} refuses: " in error
    assert "certificate verify failed" in error
    assert "SSL_CERT_FILE" in hint
    other = f"amqps://guest:{PASSWORD}@127.0.0.1:{port}/{lab.vhost}"  # not its name
    ca = {"SSL_CERT_FILE": str(certificates / "ca.pem")}
    error, _ = fail(script, "--url", other, code=4, env=ca)
    assert f"RabbitMQ at 127.0.0.1:{port} refuses: " in error
    assert "certificate is not valid for '127.0.0.1'" in error


@each_script
def test_tls_to_a_port_that_does_not_speak_it_is_explained(fail: Fail, lab: Lab, script):
    url = f"amqps://guest:guest@127.0.0.1:{lab.broker.port}/{lab.vhost}"
    error, hint = fail(script, "--url", url, code=4)
    assert f"127.0.0.1:{lab.broker.port}" in error
    assert "does not speak TLS" in hint


@each_script
def test_plain_amqp_to_a_port_that_speaks_tls_is_explained(tls_lab, fail: Fail, script):
    lab, port = tls_lab
    error, _ = fail(script, *HERE, port, "--vhost", lab.vhost, "--retry-for", 0, code=3)
    assert f"127.0.0.1:{port}" in error
