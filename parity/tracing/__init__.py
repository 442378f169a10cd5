"""Record a live network's layer calls in a Trace; read and replay them."""
