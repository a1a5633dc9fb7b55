"""The reference in its own child: gate, cases, sizes, what is right."""
