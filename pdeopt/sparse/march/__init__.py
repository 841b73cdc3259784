"""Differentiable marches in time: linear recurrences, each of which is one call of the host."""
