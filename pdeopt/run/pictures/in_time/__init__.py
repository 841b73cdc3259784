"""The pictures of what changes in time: curves of sensors, fields at some times, and an animation."""
