"""The tools that all pictures share: style, axes of fields, marks on the boundary, tables of numbers."""
