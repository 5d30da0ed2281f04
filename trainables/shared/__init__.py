"""Builds the work that trials share: originals, reference figures and tokens."""
