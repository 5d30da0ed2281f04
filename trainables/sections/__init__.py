"""Sections of a configuration, each frozen and checked; `trainables.config` joins them."""
