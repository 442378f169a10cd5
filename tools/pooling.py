"""The door to `parity pooling`."""

from parity.commands.program import main

main("pooling")
