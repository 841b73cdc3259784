"""Electrical impedance tomography: tanks, the complete electrode model, measured data, segmentation and score."""
