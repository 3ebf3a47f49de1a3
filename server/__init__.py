"""What runs in the middle: the server app, its composition and its checkpoints."""
