"""Files for deploying a server: nginx's template, units, images."""
