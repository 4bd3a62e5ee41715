"""Episode stores, and what is read of them."""
