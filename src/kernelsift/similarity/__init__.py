"""What makes two programs the same: normal forms, token shingles, near-duplicates. Pure."""
