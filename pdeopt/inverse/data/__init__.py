"""What is measured and how well it is met: observations, misfits, synthetic noise."""
