"""Measures what `docs/reliability.md` promises: `python -m tests.reliability --help`."""
