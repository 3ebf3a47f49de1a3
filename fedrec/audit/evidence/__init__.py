"""The statistics by which an audit judges: lower bounds on epsilon, and tests of noise and sampling."""
