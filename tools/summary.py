"""The door to `parity summary`."""

from parity.commands.app import main

main("summary")
