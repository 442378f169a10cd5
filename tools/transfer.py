"""The door to `parity transfer`."""

from parity.commands.app import main

main("transfer")
