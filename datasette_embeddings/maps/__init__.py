"""Every document of a collection as a point of a map, and pictures of it."""
