"""`python -m parity`: the same as the installed `parity`."""

from parity.commands.app import main

main()
