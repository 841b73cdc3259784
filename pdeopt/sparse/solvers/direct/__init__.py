"""Direct solvers: factor once, check every residual. The libraries, and what is remembered of them."""
