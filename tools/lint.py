"""Run `parity lint`."""

from parity.commands.program import main

main("lint")
