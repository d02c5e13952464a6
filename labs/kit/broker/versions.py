"""Where a RabbitMQ and its Erlang are on this machine: installed, or unpacked by us."""

import os
import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.broker.debian import unpack
from kit.cli import Trouble, say

# Which Debian release carries which RabbitMQ.
SUITES = {"3.10": "bookworm", "4.0": "trixie", "4.3": "forky"}

# Where installations keep their start scripts: Linux packages, Homebrew (Apple silicon, Intel).
# The programs of the same name in /usr/sbin will not do: they change to the user of the service.
INSTALLED = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/usr/lib64/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/opt/rabbitmq/sbin",
    "/opt/rabbitmq_server-*/sbin",
)

INSTALL = {  # what to type where nothing works, by the ID in /etc/os-release or the system's name
    "debian": "sudo apt install rabbitmq-server",
    "fedora": "sudo dnf install rabbitmq-server",
    "suse": "sudo zypper install rabbitmq-server",
    "arch": "sudo pacman -S rabbitmq",
    "alpine": "sudo apk add rabbitmq-server",
    "Darwin": "brew install rabbitmq",
    "Windows": "install Docker Desktop from docker.com and start it",
}


@dataclass(frozen=True)
class RabbitMQ:
    """A RabbitMQ that can be started: its scripts, its Erlang's programs, and its version."""

    scripts: Path
    erlang: Path
    version: tuple[int, ...]

    @property
    def epmd(self) -> Path:
        """Return Erlang's name server: beside `erl`, or in the runtime's own folder."""
        root = (self.erlang / "erl").resolve().parents[1]
        places = [self.erlang / "epmd", *root.glob("erts-*/bin/epmd"), *root.glob("bin/epmd")]
        return next((place for place in places if place.exists()), places[0])


def find(prefix: Path | None = None) -> RabbitMQ | None:
    """Return the RabbitMQ in an unpacked tree, or without one the newest that is installed."""
    if prefix:
        places = list(prefix.absolute().glob(INSTALLED[0][1:]))
        erl = str(prefix.absolute() / "usr/lib/erlang/bin/erl")
    else:
        places = [path for pattern in INSTALLED for path in Path("/").glob(pattern[1:])]
        if on_path := shutil.which("rabbitmq-server"):  # a tarball's sbin on PATH, Arch, Nix ...
            places.append(Path(on_path).resolve().parent)
        erl = shutil.which("erl") or ""
    places = [place for place in places if (place / "rabbitmq-env").exists()]
    found = [RabbitMQ(place, Path(erl).parent, _version(place)) for place in places if erl]
    return max(found, key=lambda rabbit: rabbit.version, default=None)


def get(cache: Path, version: str | None = None) -> Path | None:
    """Return the prefix for a Node: None if an installed RabbitMQ will do, else an unpacked tree.

    The version is one of SUITES; without one any will do. Raises Trouble.
    """
    installed = find()
    if installed and (version is None or _is(installed, version)):
        return None
    return unpacked(cache, version)


def supported(version: Sequence[int]) -> str | None:
    """Return the series of a version if `unpacked` can get it: 4.3 for (4, 3, 6)."""
    series = ".".join(map(str, version[:2]))
    return series if series in SUITES else None


def unpacked(cache: Path, version: str | None = None) -> Path:
    """Return a tree with RabbitMQ unpacked from Debian's packages, getting it if need be.

    The version is one of SUITES; without one it is what this machine's own apt has.
    """
    release = _this_release()
    suite = SUITES[version] if version else release
    tree = unpack(
        ["rabbitmq-server"],
        cache / f"rabbitmq-{suite}",
        suite=None if suite == release else suite,
        finish=_make_movable,
    )
    rabbit = find(tree)
    if rabbit is None:
        raise Trouble(f"{tree} is not complete", f"rm -r '{tree}'   (then try again)")
    if version and not _is(rabbit, version):
        say("!", f"Debian {suite} carries RabbitMQ {'.'.join(map(str, rabbit.version))} by now")
    return tree


def what_to_install() -> str:
    """Return what to type on this system to get a broker."""
    system = platform.system()
    if system == "Linux":
        release = Path("/etc/os-release")
        lines = release.read_text().splitlines() if release.exists() else []
        ids = " ".join(line for line in lines if re.match("ID(_LIKE)?=", line))
        system = next((name for name in INSTALL if name in ids), "")
    return INSTALL.get(system, "install Docker, or RabbitMQ (rabbitmq.com), and try again")


def _is(rabbit: RabbitMQ, version: str) -> bool:
    return rabbit.version[:2] == tuple(int(part) for part in version.split("."))


def _version(scripts: Path) -> tuple[int, ...]:
    """Read the version from the name of RabbitMQ's main library, as starting Erlang takes long."""
    for library in scripts.parent.glob("plugins/rabbit-[0-9]*"):
        return tuple(int(part) for part in re.findall(r"\d+", library.name)[:3])
    return ()


def _this_release() -> str:
    """Return the code name of this machine's release, such as bookworm or noble."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        lines = []
    names = dict(line.split("=", 1) for line in lines if "=" in line)
    return names.get("VERSION_CODENAME", "").strip('"') or "native"


def _make_movable(tree: Path) -> None:
    """Let Erlang find itself where the tree lies, and RabbitMQ live with a space in its path."""
    for script in tree.glob("usr/lib/erlang/**/bin/*"):
        if script.is_file() and not script.is_symlink() and os.access(script, os.X_OK):
            text = script.read_bytes()
            if text.startswith(b"#!/bin/sh") and b"=/usr/lib/erlang" in text:
                script.write_bytes(
                    text.replace(b"=/usr/lib/erlang", b'="${0%/usr/*}"/usr/lib/erlang')
                )
    for script in tree.glob("usr/lib/rabbitmq/lib/*/sbin/rabbitmq-env"):
        text = script.read_text()
        for unquoted in ("${RABBITMQ_SCRIPTS_DIR}/rabbitmq-defaults",):
            text = text.replace(f". {unquoted}", f'. "{unquoted}"')
        script.write_text(text)
