"""The door to `parity lint`."""

from parity.commands.program import main

main("lint")
