"""Observations of the state, misfits to data, and synthetic noise."""
