"""Rules that bring what two exporters write for one layer into one spelling: one file a group of rules."""
