"""The roof: what a run reads, shows and leaves on the disk.

It is imported by the command line and the Python interface only. Its rooms, each above the ones before it, are `store`,
`watch`, `pictures`, `problem_files`, `execution`, `report` and `sweep`. Nothing is imported here, so that ``pdeopt
list`` and ``pdeopt --help`` do not wait for JAX.
"""
