"""The roof: problem files, run directories, progress, pictures and mesh output. Imported by the command line only.

Nothing is imported here, so that ``pdeopt list`` and ``pdeopt --help`` do not wait for JAX.
"""
