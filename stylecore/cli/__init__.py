"""The command line, ``stylecore``."""

from stylecore.cli.commands import main

__all__ = ["main"]
