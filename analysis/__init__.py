"""Tables and figures of one recorded sweep, by `python -m analysis.NAME SWEEP`.

They read what trials recorded and compute nothing that a trial should have recorded.
"""
