"""Children that run what nobody trusts: fork server, walls, limits."""
