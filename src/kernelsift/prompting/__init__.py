"""What a task prompt is checked for: leaks, completeness, claims, and the set as a whole."""
