"""The verbs of the `parity` program."""
