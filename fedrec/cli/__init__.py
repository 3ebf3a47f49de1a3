"""The command line: the one part of the library that may reach the shells, and that prints."""
