"""Wrap a live network; write, read and replay what it did, layer by layer."""
