"""The command line of sweeps: arguments, progress, and what a person reads."""
