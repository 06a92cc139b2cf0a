"""Text, vector or item to matches: the one use case behind every door."""
