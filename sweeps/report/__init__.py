"""Show rows: in a terminal, as tables that compare methods, as one HTML page."""
