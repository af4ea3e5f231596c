"""Synthetic series of random kernels and parts, to pretrain on where no data may be shipped."""
