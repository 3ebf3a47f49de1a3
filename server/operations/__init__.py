"""The operator's side of a server: what happened in its runs, how it stands, and commands with effect on them."""
