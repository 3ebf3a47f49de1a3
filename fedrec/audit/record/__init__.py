"""Level 1 of an audit: what is written down, taken at nobody's word. Ledgers are read and epsilon is computed anew."""
