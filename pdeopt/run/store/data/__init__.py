"""The data of a run, each set beside what is predicted of it."""
