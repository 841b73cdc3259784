"""The primal–dual active set method, for bounds and L1 terms."""
