"""The door to `parity pooling`."""

from parity.commands.app import main

main("pooling")
