"""Measured and simulated voltages: files, noise, and the calibration of a tank."""
