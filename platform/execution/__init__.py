"""Runs trials by Ray: which starts next, in which process, and what follows from how it ends."""
