"""Models: what turns texts into vectors, one file a runtime."""
