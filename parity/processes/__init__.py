"""The worker processes: what a model and a job are, and who holds the workers."""
