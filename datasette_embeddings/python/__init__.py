"""The classes for Python programs: a database of collections, and one of them."""
