"""The candidate in its own child: loaded, shimmed, interpreted, measured; judged elsewhere."""
