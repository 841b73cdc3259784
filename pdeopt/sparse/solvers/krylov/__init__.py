"""Krylov solvers: methods, preconditioners with their transposes, and a memory of set-ups."""
