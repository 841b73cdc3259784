"""The command ``pdeopt``, also as ``python -m pdeopt``: Ctrl-C ends it in one line from its first import on."""

import sys


def main() -> int:
    """The exit status."""
    try:
        from pdeopt import cli

        return cli.main()
    except KeyboardInterrupt:
        print("pdeopt: error: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
