"""Rows as trainers read them: what each takes, what it trains on, and whether that is right."""
