"""`python -m platform.sweep [STUDY]`: the command line of sweeps."""
