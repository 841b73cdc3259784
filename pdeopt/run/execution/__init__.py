"""The execution of one run from its request to its summary, and of the rest of a stopped one."""
