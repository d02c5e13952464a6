"""Find a RabbitMQ and its Erlang on this machine: installed, or unpacked by us."""

import contextlib
import os
import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.broker.debian import unpack
from kit.cli import Trouble, say

# RabbitMQ series, and the Debian release that carries each.
SUITES = {"3.10": "bookworm", "4.0": "trixie", "4.3": "forky"}

# Where installations keep their start scripts: Linux packages, Homebrew (Apple silicon, Intel).
# The wrappers of the same name in /usr/sbin switch to the service's user, so we cannot use them.
INSTALLED = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/usr/lib64/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
    "/opt/rabbitmq/sbin",
    "/opt/rabbitmq_server-*/sbin",
)

# The hint when no transport works. (On Windows RabbitMQ runs in Docker.)
HOW_TO_INSTALL = (
    "install Docker, or RabbitMQ: brew install rabbitmq, sudo dnf install rabbitmq-server, "
    "or your system's package manager"
)


@dataclass(frozen=True)
class RabbitMQ:
    """A RabbitMQ that can be started: its scripts, its Erlang's programs, and its version."""

    scripts: Path
    erlang: Path
    version: tuple[int, ...]

    @property
    def plugins(self) -> Path:
        """Return the folder of RabbitMQ's own applications, plugins and libraries."""
        return self.scripts.parent / "plugins"

    @property
    def epmd(self) -> Path:
        """Return Erlang's name server: beside `erl`, or in the runtime's own folder."""
        root = (self.erlang / "erl").resolve().parents[1]
        places = [self.erlang / "epmd", *root.glob("erts-*/bin/epmd"), *root.glob("bin/epmd")]
        return next((place for place in places if place.exists()), places[0])


def find(prefix: Path | None = None) -> RabbitMQ | None:
    """Return the RabbitMQ in the tree `prefix`, or without one the newest that is installed."""
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

    The version is one of SUITES, or None for any. Raises Trouble.
    """
    installed = find()
    if installed and is_version(text(installed.version), version):
        return None
    return unpacked(cache, version)


def unpacked(cache: Path, version: str | None = None) -> Path:
    """Return a tree with RabbitMQ unpacked from Debian's packages; unpack it if there is none.

    The version is one of SUITES, or None for the one of this machine's own apt. Raises Trouble.
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
    if not is_version(text(rabbit.version), version):
        say("!", f"Debian {suite} now carries RabbitMQ {text(rabbit.version)}")
    return tree


def text(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def series(version: Sequence[int]) -> str | None:
    """Return the series of a version if `unpacked` can get it: 4.3 for (4, 3, 6)."""
    return text(version[:2]) if text(version[:2]) in SUITES else None


def is_version(version: str, expected: str | None) -> bool:
    """Return True if a version is of the expected series, as 4.3.6 is of 4.3."""
    return expected is None or version.split(".")[:2] == expected.split(".")


def _version(scripts: Path) -> tuple[int, ...]:
    """Read the version from the name of RabbitMQ's main library, as starting Erlang is slow."""
    for library in scripts.parent.glob("plugins/rabbit-[0-9]*"):
        return tuple(int(part) for part in re.findall(r"\d+", library.name)[:3])
    return ()


def _this_release() -> str:
    """Return the code name of this machine's release, such as bookworm, else "native"."""
    with contextlib.suppress(OSError, KeyError):  # not Linux, or a release without one
        return platform.freedesktop_os_release()["VERSION_CODENAME"]
    return "native"


def _make_movable(tree: Path) -> None:
    """Patch the start scripts so that the tree works anywhere, even with a space in its path."""
    for script in tree.glob("usr/lib/erlang/**/bin/*"):
        if script.is_file() and not script.is_symlink() and os.access(script, os.X_OK):
            content, here = script.read_bytes(), b'="${0%/usr/*}"/usr/lib/erlang'
            if content.startswith(b"#!/bin/sh"):
                script.write_bytes(content.replace(b"=/usr/lib/erlang", here))
    for script in tree.glob("usr/lib/rabbitmq/lib/*/sbin/rabbitmq-env"):
        defaults = "${RABBITMQ_SCRIPTS_DIR}/rabbitmq-defaults"
        script.write_text(script.read_text().replace(f". {defaults}", f'. "{defaults}"'))
