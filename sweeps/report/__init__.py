"""From rows to tables and one HTML page. The only folder that knows matplotlib."""
