"""What is asked: spec files, parsed and checked key by key, and the cells that they stand for."""
