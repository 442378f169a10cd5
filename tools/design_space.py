"""Run `parity design-space`."""

from parity.commands.program import main

main("design-space")
