"""What is embedded: documents, and the chunks that a long one is split into."""
