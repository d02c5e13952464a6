"""Test how the kit watches another program (kit.cli.program, kit.exercise.proxy)."""

import os
import sys

import pika
from pika.spec import Basic

from kit.cli.program import LONGEST, Script
from kit.exercise.proxy import Proxy


def test_a_line_is_there_when_a_later_one_on_the_other_stream_is():
    code = "for n in range(300): print('first', n, file=sys.stderr); print('then', n, flush=True)"
    script = Script([sys.executable, "-c", f"import sys\n{code}"], dict(os.environ))
    for number in range(300):
        script.wait_for(f"then {number}")
        assert len(script.find("first")) > number
    assert script.wait() == 0


def test_a_line_without_end_and_one_that_is_too_long_are_read():
    code = "import sys; print('x' * 200_000); sys.stdout.write('no end')"
    script = Script([sys.executable, "-c", code], dict(os.environ))
    assert script.wait() == 0
    lines = [line.text for line in script.lines]
    assert "".join(lines) == "x" * 200_000 + "no end" and lines[-1] == "no end"
    assert max(map(len, lines)) <= LONGEST


def test_what_was_sent_is_heard_at_once(proxied: tuple[Proxy, str]):
    proxy, url = proxied
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for number in range(1, 301):
            channel.basic_publish("", "no-such-queue", b"")
            assert sum(type(one.what) is Basic.Publish for one in proxy.heard) == number
