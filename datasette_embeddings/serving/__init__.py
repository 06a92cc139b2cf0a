"""Models in a server: which of them visitors may use, and their thread."""
