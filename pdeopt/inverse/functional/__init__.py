"""The reduced functional J(m): traced once, compiled once, evaluated many times."""
