"""What JAX sees of a Python function: its trace, and what tells two traces apart."""
