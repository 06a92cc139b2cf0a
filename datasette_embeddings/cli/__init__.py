"""The commands of ``datasette embeddings``."""
