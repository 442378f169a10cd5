"""Reproduce a culprit with its framework alone: a folder to attach to a report of a bug."""
