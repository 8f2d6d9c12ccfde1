"""Show rows: in a terminal, as tables of claims, as one HTML page."""
