"""Rules that give two exporters' forms of one layer the same form: one file for each group of rules."""
