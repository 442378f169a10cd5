"""Run `parity pooling`."""

from parity.commands.program import main

main("pooling")
