"""Records sweeps in MLflow."""
