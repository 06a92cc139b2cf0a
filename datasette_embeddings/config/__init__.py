"""The settings, checked once and frozen."""
