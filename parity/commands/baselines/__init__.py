"""The baselines of `parity bench`: scripts, each in its own interpreter."""
