"""A network's weights and their files, which are read without executing them."""
