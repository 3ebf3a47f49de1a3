"""Local training of many users at once, scoring, and the server's step. Free of Flower."""
