"""Run `parity precision`."""

from parity.commands.program import main

main("precision")
