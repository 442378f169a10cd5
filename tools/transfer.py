"""Run `parity transfer`."""

from parity.commands.program import main

main("transfer")
