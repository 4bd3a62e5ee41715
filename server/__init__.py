"""The composition root: serves, evaluates and demonstrates what the other packages do. The only package that imports them."""
