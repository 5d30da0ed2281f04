"""Helpers that know nothing of the science."""
