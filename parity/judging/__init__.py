"""Pair two runs, bound what rounding explains, judge, and say which layer is wrong."""
