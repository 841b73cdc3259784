"""Optimizers of our own that keep constraints, and what is said where nothing keeps them."""
