"""Our tables: the only package that reads or writes them."""
