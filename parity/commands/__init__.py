"""The command lines: parse, call, print, exit code. `tools/` and the installed `parity` are their doors."""
