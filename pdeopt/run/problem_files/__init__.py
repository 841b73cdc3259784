"""Problem files: where they are, loading them, which of them the user trusts, a new one to start from."""
