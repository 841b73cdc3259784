"""One run from its request to its summary: build, verify, minimize, write; and going on with it."""
