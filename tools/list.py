"""Run `parity list`."""

from parity.commands.program import main

main("list")
