"""Clusters of documents that are about the same, with names."""
