"""Constraints at a point: their values, how far they are violated, and their multipliers."""
