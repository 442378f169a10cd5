"""Run `parity compare`."""

from parity.commands.program import main

main("compare")
