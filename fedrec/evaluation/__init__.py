"""How good recommendations are, and how sure that figure is."""
