"""Pages and JSON API: the only folder that knows Datasette."""
