"""What a run leaves on the disk: its directory, history, evaluation log, checkpoint, arrays and meshes."""
