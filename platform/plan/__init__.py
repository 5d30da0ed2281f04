"""Plans sweeps as pure data: every trial, what it takes and what is wrong with it."""
