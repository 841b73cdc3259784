"""The views of a problem in the files of a run, and what stands for them in files of former versions."""
