"""`python -m parity`: the same as the installed `parity`."""

from parity.commands.program import main

main()
