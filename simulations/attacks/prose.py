"""Prose of the page on robustness: what holds whatever the figures say."""

HEAD = ""
AUTHORS = ""
ANALYSIS = ""
WORLDS = {"factors": "", "fedrec": ""}
