"""What a published data set consists of: shards, figures, the facts of its card, its manifest."""
