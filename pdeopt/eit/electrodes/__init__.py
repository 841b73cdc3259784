"""The complete electrode model: contacts, current patterns, voltages and their Jacobian."""
