"""What a language model may call, defined once for every program that offers it."""
