"""Sweeps: spec -> plan -> Ray Tune trials -> Parquet -> choose -> promote."""
