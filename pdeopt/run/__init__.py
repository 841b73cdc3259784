"""The roof: what a run reads, shows and leaves on the disk. Imported by the command line and the Python face only.

The rooms, each above the ones before it: `store`, `watch`, `pictures`, `problem_files`, `execution`, `report`, `sweep`.
Nothing is imported here, so that ``pdeopt list`` and ``pdeopt --help`` do not wait for JAX.
"""
