"""Compile the launches of a candidate for GPUs that need not be there."""
