"""Rows: exactly one per cell, in Parquet."""
