"""Benchmark problems as fingerprints, and rows that hold one of them."""
