"""The weights of a network and the files they come in, read without executing them."""
