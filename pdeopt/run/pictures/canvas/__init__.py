"""The tools that all pictures share: style, axes of fields, marks of electrodes, tables of numbers."""
