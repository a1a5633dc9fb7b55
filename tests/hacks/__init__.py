"""A corpus of cheats, honest answers and mutants for the verifier's tests."""
