"""Traces of Python functions by JAX, and digests that tell two traces apart."""
