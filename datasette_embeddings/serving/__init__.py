"""Models in a server: which of them a visitor may use, and the thread that runs them."""
