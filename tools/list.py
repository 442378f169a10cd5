"""The door to `parity list`."""

from parity.commands.app import main

main("list")
