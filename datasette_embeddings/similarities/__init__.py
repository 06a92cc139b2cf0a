"""Each document's nearest others, stored, so that related content needs no model."""
