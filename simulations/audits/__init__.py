"""Audits of running code: the production path of a round, called with crafted users, watched and attacked."""
