"""Messages between the front and its engine, which always have the same version."""
