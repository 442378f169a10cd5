"""Run `parity export`."""

from parity.commands.program import main

main("export")
