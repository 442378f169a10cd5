"""The door to `parity transfer`."""

from parity.commands.program import main

main("transfer")
