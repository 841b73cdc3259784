"""The numerics of an inversion: verification, minimization in stages, strength rules, history.

It has no screen and no files. Nothing is imported here, so that the command line can name the strength rules without
waiting for JAX.
"""
