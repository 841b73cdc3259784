"""The numerics of an inversion: verification, minimization in stages, strength rules, history. No screen, no files.

Nothing is imported here, so that the command line can name the strength rules without waiting for JAX.
"""
