"""`nas bench controllers`: which controller finds good networks with few samples, on tables that others made."""
