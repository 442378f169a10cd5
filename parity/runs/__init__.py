"""Whole comparisons: of two models, of live objects, of the zoo."""
