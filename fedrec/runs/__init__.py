"""The run folder: its files, its summary, its report."""
