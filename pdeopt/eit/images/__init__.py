"""Pictures of a tank: pixels, made-up objects, segmentations and their score."""
