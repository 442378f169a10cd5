"""Pair two runs, bound rounding, judge every layer, and name the culprits."""
