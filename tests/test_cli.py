"""Test how every lab program speaks, fails and stops (kit.cli)."""

import pytest

from conftest import Lab
from kit.cli import closing


def test_a_connection_is_closed_at_the_end_of_the_block_also_after_an_error(lab: Lab):
    with closing(lab.connect()) as connection:
        assert connection.is_open
    assert connection.is_closed
    with pytest.raises(ValueError), closing(lab.connect()) as connection:
        raise ValueError
    assert connection.is_closed


def test_a_connection_made_to_clean_up_after_ctrl_c_is_closed(lab: Lab):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with closing(lab.connect()) as connection:
            connection.channel()
    assert connection.is_closed


def test_after_ctrl_c_in_the_middle_of_a_call_nothing_waits_for_the_broker(lab: Lab, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), closing(lab.connect()) as connection:
        # The broker has been asked to open a channel; its answer is not awaited.
        monkeypatch.setattr(type(connection), "_flush_output", interrupt)
        connection.channel()
    monkeypatch.undo()
    assert connection.is_open
