"""The numerics of an inversion: verification, minimization in stages, strength rules, history. No screen, no files."""
