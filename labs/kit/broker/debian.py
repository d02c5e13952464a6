"""Unpacks Debian or Ubuntu packages into a folder: no root, nothing installed, no service started.

apt finds, downloads and verifies the packages (and all that they depend on) as it does for an
installation, but with its lists and its idea of what is installed in a folder of ours. Then each
package is only unpacked, and each program in it starts with the libraries that came along.

    unpack(["tmux"], Path(".broker/unpacked/tmux"))                       # this machine's release
    unpack(["rabbitmq-server"], Path(".broker/unpacked/four"), suite="trixie")
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from kit.broker.process import locked
from kit.cli import Trouble, say

DEBIAN = "https://deb.debian.org/debian"
KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"

# Packages that an unpacked tree does not need: they serve an installation (users, services, log
# rotation), or are what every such machine has (a shell, Python). apt is told that they are there.
PROVIDED = (
    "adduser cron cron-daemon-common dbus debconf dpkg init-system-helpers libpam-modules "
    "libpam-runtime logrotate lsb-base media-types openssl passwd perl perl-base procps python3 "
    "readline-common sensible-utils socat systemd sysvinit-utils tar tzdata ucf usrmerge"
).split()

# The first lines of an executable name the loader that starts it; shared libraries have none.
LOADER = re.compile(rb"/lib[^\0]*/ld[^\0/]*\.so\.\d")
# $0 is the path this script was called by: all before its last /usr/ is where the tree lies now.
WRAPPER = """#!/bin/sh
tree=${{0%/usr/*}}
exec "$tree/{loader}" --library-path "{libraries}" --argv0 "$0" "$tree/{program}" "$@"
"""


def unpack(
    packages: Iterable[str],
    into: Path,
    *,
    suite: str | None = None,
    provided: Iterable[str] = PROVIDED,
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """Unpack packages and their dependencies into a folder, unless it is there, and return it.

    The suite is a Debian one (such as trixie); None takes what this machine's own apt would.
    `finish` is called with the tree before it counts as complete. An interrupted run leaves only
    `.NAME.part`, and the next run goes on from there. Raises Trouble.
    """
    into = into.absolute()
    if into.is_dir():
        return into
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Trouble("this machine has no apt: packages can be unpacked on Debian and Ubuntu only")
    part = into.with_name(f".{into.name}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        with locked(into.with_name(f".{into.name}.lock")):
            if not into.is_dir():  # else another program made it while we waited
                tree = part / "tree"
                shutil.rmtree(tree, ignore_errors=True)
                tree.mkdir(parents=True)
                for deb in _Apt(part / "apt", suite, provided).download(list(packages)):
                    _run(["dpkg-deb", "-x", deb, tree], part / "apt" / "log")
                _make_runnable(tree)
                if finish:
                    finish(tree)
                tree.rename(into)
            shutil.rmtree(part, ignore_errors=True)
    except BrokenPipeError:  # it is our own output that nobody reads any more
        raise
    except OSError as error:
        raise Trouble(
            f"cannot unpack into {into}: {error.strerror or error}", final=True
        ) from error
    return into


class _Apt:
    """An apt whose lists, cache and idea of what is installed are in a folder of their own."""

    def __init__(self, folder: Path, suite: str | None, provided: Iterable[str]) -> None:
        self.folder, self.suite, self.log = folder, suite, folder / "log"
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.architecture = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        (folder / "status").write_text(
            "".join(
                f"Package: {name}\nStatus: install ok installed\nVersion: 99999\n"
                f"Architecture: {self.architecture}\nMulti-Arch: allowed\nDescription: .\n\n"
                for name in provided
            )
        )
        settings = {
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Debug::NoLocking": "true",  # apt's own locks are root's; ours is around all this
            "APT::Sandbox::User": "",  # root's apt would change to a user who cannot write here
            "APT::Install-Recommends": "false",
            "APT::Get::AllowUnauthenticated": "false",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "20",
            "Acquire::https::Timeout": "20",
            "Acquire::IndexTargets::deb-src::Sources::DefaultEnabled": "false",
        }
        if suite:
            (folder / "debian.list").write_text(f"deb {_mirror()} {suite} main\n")
            (folder / "keys").mkdir(exist_ok=True)
            shutil.copy(self._keyring(), folder / "keys")
            settings |= {
                "Dir::Etc::trusted": "/dev/null",  # Debian's keys only, not those of other vendors
                "Dir::Etc::trustedparts": folder / "keys",
                "Dir::Etc::sourcelist": folder / "debian.list",
                "Dir::Etc::sourceparts": "/dev/null",
                "Dir::Etc::preferences": "/dev/null",
                "Dir::Etc::preferencesparts": "/dev/null",
            }
        # What the machine does after its own updates is not for us, and needs root.
        lines = ["#clear APT::Update::Post-Invoke;", "#clear APT::Update::Post-Invoke-Success;"]
        lines += ["#clear APT::Architectures;", f'APT::Architectures {{ "{self.architecture}"; }};']
        lines += [f'{key} "{value}";' for key, value in settings.items()]
        (folder / "apt.conf").write_text("\n".join(lines) + "\n")

    def download(self, packages: list[str]) -> list[Path]:
        """Download packages and all that they need; return the files."""
        say(
            "*",
            f"Reading the package lists of {f'Debian {self.suite}' if self.suite else 'apt'} ...",
        )
        try:
            self._apt("update")
        except Trouble:
            # One broken source among several (a vendor's, say) need not matter to us.
            if not any((self.folder / "lists").glob("*Packages*")):
                raise
        plan = self._apt("--simulate", "install", *packages)
        files = []
        for name, version, architecture in re.findall(
            r"^Inst (\S+) (?:\[\S+\] )?\((\S+) .*\[(\w+)\]\)", plan, re.MULTILINE
        ):
            file = f"{name.split(':')[0]}_{version.replace(':', '%3a')}_{architecture}.deb"
            files.append(self.folder / "cache" / "archives" / file)
        say("*", f"Downloading {' '.join(packages)} and what it needs: {len(files)} packages ...")
        begun = 0

        def progress(line: str) -> None:
            nonlocal begun
            if line.startswith("Get:"):
                begun += 1
                if begun % (len(files) // 4 + 1) == 0:
                    say("*", f"Downloading package {begun} of {len(files)} ...")

        self._apt("--download-only", "--yes", "install", *packages, each_line=progress)
        say("*", "Unpacking them (nothing is installed) ...")
        return files

    def _apt(self, *arguments: str, each_line: Callable[[str], None] = len) -> str:
        command = ["apt-get", "-q", "-c", self.folder / "apt.conf", *arguments]
        return _run(command, self.log, each_line)

    def _keyring(self) -> Path:
        """Return Debian's keys: the machine's, or on Ubuntu those of its own package."""
        if (Path("/") / KEYRING).exists():
            return Path("/") / KEYRING
        return unpack(["debian-archive-keyring"], self.folder.parents[1] / "keyring") / KEYRING


def _mirror() -> str:
    """Return the Debian mirror that this machine's apt uses, or else the public one."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(COMPONENT) $(REPO_URI)"],
        capture_output=True,
        text=True,
    ).stdout
    for component, _, mirror in (line.partition(" ") for line in targets.splitlines()):
        if component == "main" and re.fullmatch(r"https?://\S+/debian/?", mirror):
            return mirror
    return DEBIAN


def _run(command: list[str | Path], log: Path, each_line: Callable[[str], None] = len) -> str:
    """Run a program, keep its output in the log, and return it. Raises Trouble with the reason."""
    output = ""
    with (
        log.open("a") as file,
        subprocess.Popen(
            command,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as program,
    ):
        print("$", *command, file=file)
        for line in program.stdout:
            file.write(line)
            output += line
            each_line(line)
    if program.returncode:
        raise Trouble(*_reason(output))
    return output


def _reason(output: str) -> tuple[str, str]:
    """Say in one line why apt or dpkg failed, and what to try."""
    if re.search("No space left|enough free space", output):
        return "no space left on the disk", "df -h .      (then again: it goes on from here)"
    if re.search("Could not resolve|Temporary failure|Could not connect|Unable to connect", output):
        return "apt cannot reach its mirror", "check the network, then try again"
    if re.search("NO_PUBKEY|GPG error", output):
        return "the packages' signature could not be verified", "sudo apt upgrade"
    errors = re.findall(r"^(?:E|dpkg-deb: error|tar): (.*)", output, re.MULTILINE)
    return f"apt says: {errors[0] if errors else output[-200:].strip()}", ""


def _make_runnable(tree: Path) -> None:
    """Put a small script before each program, which starts it with the tree's own libraries."""
    loaders = [path for path in tree.glob("**/ld*.so.[0-9]*") if not path.is_symlink()]
    if not loaders:
        return  # packages without programs
    loader = loaders[0].relative_to(tree)
    machine = loader.parent.name  # such as x86_64-linux-gnu
    folders = [loader.parent, Path("usr/lib", machine), Path("usr/lib")]
    # Some packages keep libraries for each other in a folder below (PulseAudio's, say).
    private = {path.parent for path in tree.glob(f"usr/lib/{machine}/*/lib*.so*")}
    folders += sorted(path.relative_to(tree) for path in private)
    libraries = ":".join(f"$tree/{folder}" for folder in dict.fromkeys(folders))
    for path in sorted(tree.glob("**/*")):
        if path.is_symlink() or not path.is_file() or not os.access(path, os.X_OK):
            continue
        with path.open("rb") as file:
            head = file.read(4096)
        if head[:4] == b"\x7fELF" and LOADER.search(head) and ".so" not in path.name:
            program = path.rename(path.with_name(path.name + ".real")).relative_to(tree)
            # A program that looks for its files beside itself looks beside its loader.
            beside = path.with_name(".loader")
            if not beside.exists():
                beside.hardlink_to(tree / loader)
            text = WRAPPER.format(
                loader=beside.relative_to(tree), libraries=libraries, program=program
            )
            path.write_text(text)
            path.chmod(0o755)
