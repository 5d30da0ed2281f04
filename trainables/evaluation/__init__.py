"""Completes images and measures them, by the domain CNN or by the paper's networks."""
