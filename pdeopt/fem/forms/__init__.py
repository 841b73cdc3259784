"""Weak forms: their coefficients, their structure, and their assembly."""
