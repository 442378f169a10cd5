"""The door to `parity design-space`."""

from parity.commands.app import main

main("design-space")
