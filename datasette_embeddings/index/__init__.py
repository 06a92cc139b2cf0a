"""Indexes of a collection in memory, exact or compact, which follow every commit."""
