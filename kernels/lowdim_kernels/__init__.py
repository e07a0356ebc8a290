"""Structured products and factorisations for PyTorch: Kronecker, masked sparse, truncated SVD."""
