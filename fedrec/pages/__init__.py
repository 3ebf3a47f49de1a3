"""Pages of a run for people: what a dashboard and an operator's console are made of. Values in, HTML out, no server."""
