"""Attacks on generators: one file per attack; `unlearn.attacks.ATTACKS` registers them."""
