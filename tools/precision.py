"""The door to `parity precision`."""

from parity.commands.app import main

main("precision")
