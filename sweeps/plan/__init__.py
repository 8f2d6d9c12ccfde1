"""Plan a run: missing artifacts, cells from grids and studies, cost. Starts no Ray."""
