"""What is missing, where its cells come from (grids and studies), and what it costs. Starts no Ray."""
