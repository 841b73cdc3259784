"""The command ``pdeopt``, also as ``python -m pdeopt``."""

import os
import signal
import sys


def main() -> int:
    """The exit status. Ctrl-C ends it at once while libraries are imported: some do not survive an exception then."""
    signal.signal(signal.SIGINT, _leave)
    from pdeopt import cli

    return cli.main()


def _leave(signum: int, frame: object) -> None:
    os.write(2, b"pdeopt: error: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
