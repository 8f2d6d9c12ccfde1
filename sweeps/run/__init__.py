"""Run a plan on Ray: artifacts first, then one Tuner for all cells. The only folder that knows Ray."""
