"""The door to `parity bench`."""

from parity.commands.app import main

main("bench")
