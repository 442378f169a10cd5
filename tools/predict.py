"""Run `parity predict`."""

from parity.commands.program import main

main("predict")
