"""Trains: the loop, its optimizer, its snapshots and its surroundings."""
