"""The passages that answer a question, within a number of tokens."""
