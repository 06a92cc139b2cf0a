"""Datasette 0.65 and 1.0: the only room that knows which of them runs."""
