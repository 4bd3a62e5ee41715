"""Small networks on the frozen latents of a trained recipe."""
