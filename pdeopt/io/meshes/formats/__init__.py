"""The formats of mesh files: a reader for each, and the refusal of damaged and foreign files."""
