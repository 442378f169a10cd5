"""Run `parity summary`."""

from parity.commands.program import main

main("summary")
