"""What is missing, where its cells come from (grids and studies), what it costs. Starts no Ray."""
