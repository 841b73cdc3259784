"""Sweeps: many runs over a grid of options, in processes of their own."""
