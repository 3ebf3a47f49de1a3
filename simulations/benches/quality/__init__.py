"""The quality bench: a matrix of runs, each made once and stored, and the page that is written from what is stored."""
