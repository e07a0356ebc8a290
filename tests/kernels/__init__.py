"""Tests of lowdim_kernels: one `Case` an operation feeds one contract."""
