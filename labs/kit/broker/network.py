"""Find free ports on this machine, and check whether a broker answers on a port."""

import base64
import contextlib
import errno
import random
import re
import socket
import sys
import urllib.error
import urllib.request

from kit.cli import LOCALHOST

_reservations: list[socket.socket] = []


def greet(port: int, host: str = LOCALHOST) -> str | None:
    """Greet in AMQP 0-9-1; return the broker's version ("" if hidden), or None if no answer."""
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            answer = connection.makefile("rb")
            head = answer.read(7)  # a frame's type, channel and size
            if head[:3] != b"\x01\x00\x00":  # not a method frame on channel 0
                return None
            frame = answer.read(int.from_bytes(head[3:], "big"))
    except OSError:
        return None
    if frame[:4] != b"\x00\x0a\x00\x0a":  # Connection.Start
        return None
    version = re.search(rb"\x07versionS....([\d.]+)", frame, re.DOTALL)
    return version[1].decode() if version else ""


def amqp_answers(port: int, host: str = LOCALHOST) -> bool:
    """Return True if an AMQP 0-9-1 broker answers on the port."""
    return greet(port, host) is not None


def page_answers(port: int) -> bool:
    """Return True if the management page can log users in; it answers 500 while it starts."""
    login = {"Authorization": f"Basic {base64.b64encode(b'guest:guest').decode()}"}
    request = urllib.request.Request(f"http://{LOCALHOST}:{port}/api/overview", headers=login)
    no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with no_proxy.open(request, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401  # it is ready, but guest cannot log in
    except (OSError, ValueError):
        return False


def free_port(row: int = 1) -> int:
    """Return the first of `row` adjacent free ports, on Linux reserved until this program ends.

    They lie below the range that the system uses for outgoing connections.
    """
    while True:
        first = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as to_release:
            try:
                reservations = [_reserve(first + offset, to_release) for offset in range(row)]
            except OSError:
                continue
            if sys.platform == "linux":
                to_release.pop_all()
                _reservations.extend(reservations)
        return first


def _reserve(port: int, to_release: contextlib.ExitStack) -> socket.socket:
    reservation = to_release.enter_context(socket.socket())
    reservation.bind((LOCALHOST, port))
    # The socket is bound but does not listen: other callers cannot bind the port, while a broker,
    # which sets the same option, can listen on it, also after a kill.
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return reservation


def is_free(port: int) -> bool:
    """Return True if no program listens on the port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOCALHOST, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
