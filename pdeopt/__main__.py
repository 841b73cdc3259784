"""The command ``pdeopt``, also as ``python -m pdeopt``."""

import os
import signal
import sys


def main() -> int:
    """Return the exit status of the command.

    A signal ends it at once while libraries are imported, some of which do not survive an exception. What ignores a
    signal from outside, as a run under nohup does SIGHUP, goes on ignoring it.
    """
    signal.signal(signal.SIGINT, _leave)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _leave)
    from pdeopt import cli

    return cli.main()


def _leave(signum: int, frame: object) -> None:
    try:
        os.write(2, b"pdeopt: error: interrupted\n")
    finally:  # also where the terminal was closed
        os._exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
