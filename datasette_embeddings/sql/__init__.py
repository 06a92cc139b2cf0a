"""The SQL functions, for Datasette, sqlite-utils and any connection."""
