"""The door to `parity export`."""

from parity.commands.app import main

main("export")
