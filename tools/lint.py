"""The door to `parity lint`."""

from parity.commands.app import main

main("lint")
