"""Where documents come from, and the way back from an item to its row."""
