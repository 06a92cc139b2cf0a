"""A collection as a whole: clusters, a map, axes, labels, duplicates, outliers."""
