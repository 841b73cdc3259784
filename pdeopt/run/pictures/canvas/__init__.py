"""What all pictures share: style, axes of fields, marks of electrodes, tables of numbers."""
