"""Compute one cell: unlearn, score, attack. Without Ray."""
