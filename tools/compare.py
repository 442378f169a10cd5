"""The door to `parity compare`."""

from parity.commands.app import main

main("compare")
