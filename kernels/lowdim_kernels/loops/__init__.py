"""Numba loops of the kernels: addresses and sizes in, nothing of torch."""
