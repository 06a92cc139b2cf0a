"""A collection's vectors as one matrix in memory, exact and always fresh."""
