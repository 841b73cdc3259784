"""The pictures of a run, each drawn from the arrays and tables of its directory."""
