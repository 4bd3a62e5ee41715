"""A trained recipe in the form that planning wants."""
