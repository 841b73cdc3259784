"""State equations in time."""
