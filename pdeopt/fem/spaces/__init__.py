"""Function spaces on meshes, their functions at points, and Dirichlet conditions."""
