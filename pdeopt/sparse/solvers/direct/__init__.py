"""Direct solvers, which factor once and check every residual: the libraries and their memories."""
