"""Kernels written by hand at tile level, each with its formula and a NumPy oracle in float64.

A kernel is a function of its sizes that returns a PrimFunc; `<name>_reference` beside it is the
oracle. Sizes are arbitrary: what hangs over an edge is clipped by loads and stores.
"""
