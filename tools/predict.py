"""The door to `parity predict`."""

from parity.commands.program import main

main("predict")
