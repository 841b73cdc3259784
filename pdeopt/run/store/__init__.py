"""The files of a run directory: history, evaluation log, checkpoint, arrays and meshes."""
