"""Run `parity bench`."""

from parity.commands.program import main

main("bench")
