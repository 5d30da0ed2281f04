"""Searches by Optuna: the ledger of trials that ended, samplers and proposals."""
