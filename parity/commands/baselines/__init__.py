"""Scripts that `parity bench` holds us against, each in an interpreter of its own."""
