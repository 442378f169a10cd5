"""The door to `parity compare`."""

from parity.commands.program import main

main("compare")
