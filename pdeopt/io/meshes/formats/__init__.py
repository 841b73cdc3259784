"""The formats of mesh files: a reader for each, and what a damaged or foreign file is refused with."""
