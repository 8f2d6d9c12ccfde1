"""Attacks on classifiers: one file per attack; `unlearn.attacks.ATTACKS` registers them."""
