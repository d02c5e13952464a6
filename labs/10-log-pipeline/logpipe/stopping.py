"""How this lab's programs are stopped."""

import signal


def stop_as_with_ctrl_c() -> None:
    """Let `kill`, and whoever closes the terminal, stop this program as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _hung_up)


def _hung_up(*_: object) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a shell that ends sends another one
    signal.raise_signal(signal.SIGTERM)  # which signals_put_off knows
