"""Values that were measured at points, from CSV tables and NPZ files and to them."""
