"""Fleets that come and go, in virtual time: what a server's rounds do when half of its devices are away."""
