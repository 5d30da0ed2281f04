"""Searches by Optuna: a queue of trials, the ledger of those that ended, what is proposed next."""
