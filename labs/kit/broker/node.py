"""A private RabbitMQ node in one folder, on 127.0.0.1, run by root or by any other user.

    node = Node(Path(".broker/lab"))        # the installed RabbitMQ; prefix=... for an unpacked one
    node.start(); node.kill(); node.start(); node.stop(); node.wipe()

The folder holds data, logs, configuration, the cookie, and node.json, which lets any process
control the node. The node outlives the program that started it.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kit.broker import versions
from kit.broker.network import amqp_answers, free_port, is_free, page_answers
from kit.broker.process import alive, birth, descendants, locked, send
from kit.cli import KIT, LOCALHOST, Trouble, defer_signals, wait_until

PATIENCE = 90  # seconds for a node to start
# What an application needs, in its .app file: {applications, [kernel, stdlib]}
APPLICATIONS = re.compile(r"{\s*applications\s*,\s*\[(.*?)]", re.DOTALL)
# Erlang code to load all modules of some applications at once: each application in turn comes first
# in the path, or Erlang would look for every module in some forty folders. The node starts another
# Erlang each minute, to see that epmd runs, and that one must not do the same.
PRELOAD = """
os:unsetenv("ERL_AFLAGS"),
Folders = [filename:join(Folder, "ebin") || Name <- [%s], Folder <- [code:lib_dir(Name)],
           is_list(Folder)],
[begin
     code:add_patha(Folder),
     Files = filelib:wildcard("*.beam", Folder),
     code:ensure_modules_loaded([list_to_atom(filename:basename(File, ".beam")) || File <- Files])
 end || Folder <- Folders].
"""
SETTINGS = KIT / "labs" / "rabbitmq"  # shared with docker-compose.yml


class Node:
    """A RabbitMQ node in a folder of its own. A port of 0 or None means any free one."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "lab",
        port: int | None = 5672,
        management_port: int | None = 15672,
        prefix: Path | None = None,
        settings: str = "",
        advanced: str = "",
        plugins: Sequence[str] = ("rabbitmq_management",),
    ) -> None:
        self.folder = Path(folder).absolute()
        self.name, self.prefix = name, prefix
        self.settings, self.advanced, self.plugins = settings, advanced, tuple(plugins)
        self.port = port or free_port()
        self.management_port = management_port or free_port()
        self._children: list[subprocess.Popen] = []

    @classmethod
    def load(cls, folder: Path) -> "Node | None":
        """Return the node that was last started in a folder, if there is one."""
        if not (state := cls(folder).state):
            return None
        options = {key: state[key] for key in ("name", "port", "management_port")}
        return cls(folder, prefix=Path(state["prefix"]) if state["prefix"] else None, **options)

    @property
    def rabbitmq(self) -> versions.RabbitMQ:
        """Return the RabbitMQ that this node runs. Raises Trouble if there is none."""
        if found := versions.find(self.prefix):
            return found
        raise Trouble(f"no RabbitMQ found {f'in {self.prefix}' if self.prefix else 'installed'}")

    @property
    def version(self) -> tuple[int, ...]:
        """Return RabbitMQ's version, such as (3, 10, 8)."""
        return self.rabbitmq.version

    @property
    def state(self) -> dict:
        """Return node.json, the record of the last start; empty if there was none."""
        try:
            return json.loads((self.folder / "node.json").read_text())
        except (OSError, ValueError):
            return {}

    @property
    def pid(self) -> int | None:
        """Return the process id of the running node, or None."""
        for child in self._children:
            child.poll()  # reaps it if it is dead: a zombie would count as running
        pid, born = self.state.get("node", (0, ""))
        return pid if alive(pid, born) else None

    def is_running(self) -> bool:
        return self.pid is not None

    def start(self) -> None:
        """Start the node unless it runs, and wait until AMQP and the management page answer."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.folder / ".lock"):
            if self.is_running():  # another program started it: it may not be ready yet
                self.port = self.state["port"]
                self.management_port = self.state["management_port"]
                return self._wait_until_it_answers()
            self._kill_epmd()
            self._check_data()
            self._check_ports()
            self._write_files()
            try:
                self._launch()
                self._wait_until_it_answers()
            except BaseException:  # Ctrl-C too: leave nothing half started behind
                self.kill()
                for child in self._children:
                    child.kill()
                raise

    def _launch(self) -> None:
        """Start epmd and the node, and record their processes in node.json."""
        environment = self._environment(epmd=free_port(), distribution=free_port())
        epmd_port = environment["ERL_EPMD_PORT"]
        with (self.folder / "log" / "output.log").open("wb") as output:
            # Start epmd ourselves: one that the node starts outlives it and cannot be told apart.
            epmd = [self.rabbitmq.epmd, "-port", epmd_port, "-address", LOCALHOST]
            epmd = self._spawn(epmd, environment, output)
            wait_until(lambda: not is_free(int(epmd_port)), 20)
            # With RUNNING_UNDER_SYSTEMD the script becomes the node, so its pid is the node's.
            environment["RUNNING_UNDER_SYSTEMD"] = "true"
            environment["ERL_AFLAGS"] = "-run file script preload"
            node = self._spawn([self.rabbitmq.scripts / "rabbitmq-server"], environment, output)
        state = {
            "node": [node.pid, birth(node.pid)],
            "epmd": [epmd.pid, birth(epmd.pid)],
            "epmd_port": int(epmd_port),
            "distribution_port": int(environment["RABBITMQ_DIST_PORT"]),
            "name": self.name,
            "port": self.port,
            "management_port": self.management_port,
            "prefix": str(self.prefix or ""),
            "version": list(self.version),
        }
        _write(self.folder / "node.json", json.dumps(state, indent=1) + "\n")

    def stop(self) -> None:
        """Stop the node politely and wait until it has gone; if that takes too long, kill it."""
        if pid := self.pid:
            send(pid, signal.SIGTERM)
            send(pid, signal.SIGCONT)  # it may be frozen
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not self.is_running(), 60)
        self.kill()

    def kill(self) -> None:
        """Kill the node as a power cut would, and wait until it and its helpers are dead."""
        helpers = []
        if pid := self.pid:
            helpers = [(child, birth(child)) for child in descendants(pid)]
            send(pid, signal.SIGKILL)
        wait_until(lambda: not self.is_running(), 10)
        # Erlang's helpers end by themselves when the node has gone. One of them may be about to see
        # that epmd runs: if it did not, it would start another one, which would outlive us.
        try:
            wait_until(lambda: not any(alive(*helper) for helper in helpers), 10)
        finally:
            self._kill_epmd()

    def restart(self) -> None:
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Kill the node and remove its folder."""
        self.kill()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return its output. Raises Trouble."""
        command = [self.rabbitmq.scripts / "rabbitmqctl", *arguments]
        environment = self._environment(self.state["epmd_port"], self.state["distribution_port"])
        pipes = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        done = subprocess.run(command, env=environment, cwd=self.folder, **pipes)
        if done.returncode:
            raise Trouble(f"rabbitmqctl {arguments[0]}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def log_files(self) -> list[Path]:
        """Return the node's log files, the main one last."""
        files = (self.folder / "log").glob("*.log")
        main = f"{self.name}@localhost.log"
        return sorted(files, key=lambda path: (path.name == main, path.stat().st_mtime))

    @property
    def _has_page(self) -> bool:
        return "rabbitmq_management" in self.plugins

    def _environment(self, epmd: int, distribution: int) -> dict[str, str]:
        """Return the environment that keeps RabbitMQ's programs inside the folder."""
        foreign = ("RABBITMQ_", "ERL_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        folder, local = self.folder, "-kernel inet_dist_use_interface {127,0,0,1}"
        return inherited | {
            "PATH": f"{self.rabbitmq.erlang}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(folder / "home"),  # where Erlang looks for the cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": LOCALHOST,
            "ERL_CRASH_DUMP_SECONDS": "0",  # no large files when a start fails
            "RABBITMQ_SCRIPTS_DIR": str(self.rabbitmq.scripts),
            "RABBITMQ_NODENAME": f"{self.name}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOCALHOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": local,
            # Room for a few thousand connections, not for a million, saves a tenth of the memory.
            "RABBITMQ_MAX_NUMBER_OF_PROCESSES": "131072",
            "RABBITMQ_MAX_NUMBER_OF_ATOMS": "1048576",
            "RABBITMQ_CTL_ERL_ARGS": local,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "no-conf.d"),  # not the machine's /etc
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_PLUGINS_DIR": str(folder / "plugins"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "expanded"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }

    def _check_data(self) -> None:
        """Raise Trouble if the folder holds data that this RabbitMQ cannot read."""
        written_by = tuple(self.state.get("version", self.version))
        is_readable = written_by <= self.version and written_by[0] == self.version[0]
        if any((self.folder / "data").glob("*")) and not is_readable:
            old, new = versions.text(written_by), versions.text(self.version)
            what = f"{self.folder} holds data of RabbitMQ {old}, which {new} cannot read"
            hint = "another --node, or down --wipe (that forgets its queues and messages)"
            raise Trouble(what, hint, final=True)

    def _check_ports(self) -> None:
        """Raise Trouble if another program listens on one of our ports."""
        for port in (self.port, *([self.management_port] if self._has_page else [])):
            if not is_free(port):
                hint = "choose others with --port and --management-port"
                raise Trouble(f"port {port} is taken by another program", hint, final=True)

    def _write_files(self) -> None:
        for name in ("home", "data", "log"):
            (self.folder / name).mkdir(exist_ok=True, mode=0o700)
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            _write(cookie, secrets.token_hex(16), mode=0o400)
        _write(self.folder / "rabbitmq.conf", "\n".join(self._configuration().values()) + "\n")
        _write(self.folder / "enabled_plugins", f"[{','.join(self.plugins)}].\n")
        _write(self.folder / "advanced.config", self.advanced or "[].\n")
        plugins = {path.name.partition("-")[0]: path for path in self.rabbitmq.plugins.iterdir()}
        needed = self._needed_applications(plugins)
        _write(self.folder / "preload", PRELOAD % ", ".join(needed))
        links = self.folder / "plugins"
        shutil.rmtree(links, ignore_errors=True)
        links.mkdir()
        for path in {plugins[name] for name in needed if name in plugins}:
            (links / path.name).symlink_to(path)

    def _needed_applications(self, plugins: dict[str, Path]) -> list[str]:
        """Return the Erlang applications that the enabled plugins need, and theirs in turn.

        Erlang looks for each of the thousand modules in one application after the other, and halts
        its schedulers to load it. With these applications only, and all their modules loaded at
        once, RabbitMQ 3.10 starts in less than half the time.
        """
        needed = ["rabbit", "rabbitmq_prelaunch", *self.plugins]
        if any(path.suffix == ".ez" for path in plugins.values()):  # archives: take them all
            needed = [*plugins]
        for name in needed:  # it grows meanwhile
            for file in plugins[name].glob("ebin/*.app") if name in plugins else ():
                for listed in APPLICATIONS.findall(file.read_text()):
                    needed += {*re.findall(r"\w+", listed)} - {*needed}
        return needed

    def _configuration(self) -> dict[str, str]:
        """Return the lines of rabbitmq.conf by key; a later line replaces an earlier one."""
        text = (SETTINGS / "kit.conf").read_text().splitlines()
        text.append(f"listeners.tcp.1 = {LOCALHOST}:{self.port}")
        if self._has_page:
            text.append(f"management.tcp.ip = {LOCALHOST}")
            text.append(f"management.tcp.port = {self.management_port}")
        lines = {}
        for line in text + self.settings.splitlines():
            key = line.partition("=")[0].strip()
            if not key or key.startswith("#"):
                continue
            if key.startswith("deprecated_features.") and self.version < (3, 12):
                continue  # older versions do not know this key, and would not start
            lines[key] = line.strip()
        return lines

    def _spawn(self, command: list, environment: dict, output) -> subprocess.Popen:
        with defer_signals():
            child = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the node outlives this terminal and its Ctrl-C
            )
            self._children.append(child)
        return child

    def _wait_until_it_answers(self) -> None:
        def answers() -> bool:
            if not self.is_running():
                raise Trouble(*self._why_it_failed())
            has_page = self._has_page
            return amqp_answers(self.port) and (not has_page or page_answers(self.management_port))

        try:
            wait_until(answers, PATIENCE)
        except TimeoutError:
            what = f"RabbitMQ did not answer on port {self.port} within {PATIENCE} s"
            raise Trouble(what, f"less '{self.folder}/log/output.log'") from None

    def _why_it_failed(self) -> tuple[str, str]:
        """Return the first error that RabbitMQ printed, and how to see the rest."""
        log = self.folder / "log" / "output.log"
        text = log.read_text(errors="replace")
        errors = re.findall(r"\[error\] <[\d.]+> (?!BOOT FAILED|[=* ]+$)(\S.*)", text)
        lines = errors or text.strip().splitlines()[-1:] or ["it said nothing"]
        reason = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
        return f"RabbitMQ did not start: {reason[:200]}", f"less '{log}'"

    def _kill_epmd(self) -> None:
        """Kill the node's epmd if it is running."""
        pid, born = self.state.get("epmd", (0, ""))
        if alive(pid, born):
            send(pid, signal.SIGKILL)
            wait_until(lambda: not alive(pid, born), 5)


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file in one step, so that no reader sees half of it."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    new.replace(path)
