"""Run a plan on Ray: artifacts, then cells. The only folder of `sweeps` that imports Ray."""
