"""Ports of this machine: which are free, and whether a broker really answers."""

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
            head = answer.read(7)  # of a frame: its type, its channel, the size of the rest
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
    """Return True if the management page is ready to log users in; while it starts it says 500."""
    login = {"Authorization": f"Basic {base64.b64encode(b'guest:guest').decode()}"}
    request = urllib.request.Request(f"http://{LOCALHOST}:{port}/api/overview", headers=login)
    no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with no_proxy.open(request, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401  # it is ready, but knows other users
    except (OSError, ValueError):
        return False


def free_port(row: int = 1) -> int:
    """Return the first of a row of free ports, which on Linux stay ours until this program ends.

    They lie below those that the system hands out to clients by itself.
    """
    while True:
        first = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as given_back:
            try:
                reservations = [_reserve(first + place, given_back) for place in range(row)]
            except OSError:
                continue
            if sys.platform == "linux":
                given_back.pop_all()
                _reservations.extend(reservations)
        return first


def _reserve(port: int, given_back: contextlib.ExitStack) -> socket.socket:
    reservation = given_back.enter_context(socket.socket())
    reservation.bind((LOCALHOST, port))
    # Bound but not listening: other callers of this function cannot bind it, while a broker, whose
    # sockets have the same option, may listen there, now and after a kill.
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
