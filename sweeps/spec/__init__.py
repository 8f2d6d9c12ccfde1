"""Spec files, parsed and checked key by key, and the cells that they describe."""
