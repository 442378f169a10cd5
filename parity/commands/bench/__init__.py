"""`parity bench`: what the project's own work costs, as ratios measured in one run; a file a verb."""
