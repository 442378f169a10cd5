"""The door to `parity bench`."""

from parity.commands.program import main

main("bench")
