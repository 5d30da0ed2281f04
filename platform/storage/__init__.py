"""Reads and writes the files of a sweep, in a folder or behind an address."""
