"""Attacks on unlearned models: do they still hold what they should have forgotten?"""
