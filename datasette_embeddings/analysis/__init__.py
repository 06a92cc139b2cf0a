"""Questions about all documents: axes, labels, near-duplicates, outliers."""
