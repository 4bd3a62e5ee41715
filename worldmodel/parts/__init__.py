"""Tensors in, tensors out: what recipes are made of."""
