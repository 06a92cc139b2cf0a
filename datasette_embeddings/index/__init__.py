"""A collection's vectors in memory, all of them or one bit of each number."""
