"""Rows: exactly one a cell, in Parquet."""
