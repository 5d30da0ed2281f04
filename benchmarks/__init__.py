"""Ratios within one run, and what the published sizes take. `python -m benchmarks` runs them all.

A module whose name begins with no underscore is a benchmark: it has a `main()`, and runs alone by
`python -m benchmarks.NAME`. `RESULTS.md` holds what they printed, and where.
"""
