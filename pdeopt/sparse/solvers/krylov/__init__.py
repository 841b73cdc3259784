"""Krylov solvers: methods, preconditioners with their transposes, and what is remembered of set-ups."""
