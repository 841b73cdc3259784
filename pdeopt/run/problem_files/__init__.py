"""Problem files: their places, their loading, the user's trust in them, and a new one to start from."""
