"""Meshes from files, with boundaries and subdomains by name."""
