"""The door to `parity predict`."""

from parity.commands.app import main

main("predict")
