"""`parity bench`: speed and memory of the project's own work, as ratios measured in one run; one file for each verb."""
