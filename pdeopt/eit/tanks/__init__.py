"""Round tanks and their meshes: made up, or from files."""
