"""Unpack Debian or Ubuntu packages into a folder: no root, nothing installed, no service started.

apt finds, downloads and verifies the packages and their dependencies as usual, but keeps its
package lists and its list of installed packages in a private folder. The packages are only
unpacked, and each program in them starts with the libraries of its own tree.

    unpack(["tmux"], Path(".broker/unpacked/tmux"))                       # this machine's release
    unpack(["rabbitmq-server"], Path(".broker/unpacked/four"), suite="trixie")
"""

import os
import re
import shutil
import string
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from kit.broker.process import locked
from kit.cli import Trouble, say

HERE = Path(__file__).parent  # of apt.conf
DEBIAN = "https://deb.debian.org/debian"
KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"

# Packages that apt is told are already installed. An unpacked tree does not need them: they serve
# an installation (users, services, log rotation), or every machine has them (a shell, Python).
PROVIDED = (
    "adduser cron cron-daemon-common dbus debconf dpkg init-system-helpers libpam-modules "
    "libpam-runtime logrotate lsb-base media-types openssl passwd perl perl-base procps python3 "
    "readline-common sensible-utils socat systemd sysvinit-utils tar tzdata ucf usrmerge"
).split()

# The head of an executable names the loader that starts it; a shared library names none.
LOADER = re.compile(rb"/lib[^\0]*/ld[^\0/]*\.so\.\d")
# $0 is the path that the script was called by; the part before its last /usr/ is the tree.
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
    """Unpack packages and their dependencies into a folder unless it exists, and return it.

    `suite` is a Debian release such as trixie; None means the packages of this machine's own apt.
    `finish` is called with the tree before it gets its final name. An interrupted run leaves only
    `.NAME.part`, and the next run resumes from there. Raises Trouble.
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
            if not into.is_dir():  # another program may have made it while we waited
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
    except BrokenPipeError:  # the reader of our own output has gone
        raise
    except OSError as error:
        what = f"cannot unpack into {into}: {error.strerror or error}"
        raise Trouble(what, final=True) from error
    return into


class _Apt:
    """An apt that keeps its package lists, cache and list of installed packages in one folder."""

    def __init__(self, folder: Path, suite: str | None, provided: Iterable[str]) -> None:
        self.folder, self.suite, self.log = folder, suite, folder / "log"
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        architecture = subprocess.run(
            ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        package = (
            "Package: {}\nStatus: install ok installed\nVersion: 99999\n"
            f"Architecture: {architecture}\nMulti-Arch: allowed\nDescription: .\n\n"
        )
        (folder / "status").write_text("".join(map(package.format, provided)))
        settings = (HERE / "apt.conf").read_text()
        if suite:
            (folder / "debian.list").write_text(f"deb {_mirror()} {suite} main\n")
            (folder / "keys").mkdir(exist_ok=True)
            shutil.copy(self._keyring(), folder / "keys")
            settings += (HERE / "apt-suite.conf").read_text()
        names = {"folder": folder, "architecture": architecture}
        (folder / "apt.conf").write_text(string.Template(settings).substitute(names))

    def download(self, packages: list[str]) -> list[Path]:
        """Download packages and their dependencies; return the .deb files. Raises Trouble."""
        source = f"Debian {self.suite}" if self.suite else "apt"
        say("*", f"Reading the package lists of {source} ...")
        try:
            self._apt("update")
        except Trouble:
            # One broken source (a vendor's, say) does not matter if another could be read.
            if not any((self.folder / "lists").glob("*Packages*")):
                raise
        count = len(re.findall("^Inst ", self._apt("--simulate", "install", *packages), re.M))
        say("*", f"Downloading {' '.join(packages)} and its dependencies: {count} packages ...")

        def progress(line: str) -> None:
            if (get := re.match(r"Get:(\d+)", line)) and int(get[1]) % (count // 4 + 1) == 0:
                say("*", f"Downloading package {get[1]} of {count} ...")

        self._apt("autoclean")  # drop files of an interrupted run that are now outdated
        self._apt("--download-only", "--yes", "install", *packages, each_line=progress)
        say("*", "Unpacking them (nothing is installed) ...")
        return sorted((self.folder / "cache" / "archives").glob("*.deb"))

    def _apt(self, *arguments: str, each_line: Callable[[str], None] = len) -> str:
        command = ["apt-get", "-q", "-c", self.folder / "apt.conf", *arguments]
        return _run(command, self.log, each_line)

    def _keyring(self) -> Path:
        """Return the file of Debian's keys: this machine's own, or on Ubuntu one from a package."""
        if (Path("/") / KEYRING).exists():
            return Path("/") / KEYRING
        return unpack(["debian-archive-keyring"], self.folder.parents[1] / "keyring") / KEYRING


def _mirror() -> str:
    """Return the Debian mirror that this machine's apt uses, else the public one."""
    command = ["apt-get", "indextargets", "--format", "$(COMPONENT) $(REPO_URI)"]
    targets = subprocess.run(command, capture_output=True, text=True).stdout
    for component, _, mirror in (line.partition(" ") for line in targets.splitlines()):
        if component == "main" and re.fullmatch(r"https?://\S+/debian/?", mirror):
            return mirror
    return DEBIAN


def _run(command: list[str | Path], log: Path, each_line: Callable[[str], None] = len) -> str:
    """Run a program, log its output, and return it. Raises Trouble with the reason."""
    output = ""
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    options = {"env": environment, "text": True, "errors": "replace", **pipes}
    with log.open("a") as file, subprocess.Popen(command, **options) as program:
        print("$", *command, file=file)
        for line in program.stdout:
            file.write(line)
            output += line
            each_line(line)
    if program.returncode:
        raise Trouble(*_reason(output))
    return output


def _reason(output: str) -> tuple[str, str]:
    """Return why apt or dpkg failed, and what to try."""
    if re.search("No space left|enough free space", output):
        return "no space left on the disk", "df -h .      (then try again: it resumes from here)"
    if re.search("Could not resolve|Temporary failure|Could not connect|Unable to connect", output):
        return "apt cannot reach its mirror", "check the network, then try again"
    if re.search("NO_PUBKEY|GPG error", output):
        return "the packages' signature could not be verified", "sudo apt upgrade"
    errors = re.findall(r"^(?:E|dpkg-deb: error|tar): (.*)", output, re.MULTILINE)
    return f"apt says: {errors[0] if errors else output[-200:].strip()}", ""


def _make_runnable(tree: Path) -> None:
    """Replace each program with a small script that starts it with the tree's own libraries."""
    loaders = [path for path in tree.glob("**/ld*.so.[0-9]*") if not path.is_symlink()]
    if not loaders:
        return  # packages without programs
    loader = loaders[0].relative_to(tree)
    machine = loader.parent.name  # such as x86_64-linux-gnu
    folders = [loader.parent, Path("usr/lib", machine), Path("usr/lib")]
    # Some packages (PulseAudio's, say) keep shared private libraries in a subfolder.
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
            # Link the loader into the program's folder: the program looks for its files there.
            beside = path.with_name(".loader")
            if not beside.exists():
                beside.hardlink_to(tree / loader)
            names = {"loader": beside.relative_to(tree), "program": program}
            path.write_text(WRAPPER.format(libraries=libraries, **names))
            path.chmod(0o755)
