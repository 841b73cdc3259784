"""The command ``pdeopt``: words of the command line in, exit status out. Nothing stands above it."""

from pdeopt.cli.command import main

__all__ = ["main"]
