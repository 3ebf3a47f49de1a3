"""What `fedrec bench` runs: races of our own work against rivals, each measurement by one function."""
