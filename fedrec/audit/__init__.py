"""Whether a privacy claim survives: what an audit asks, what it finds, and the statistics by which it judges."""
