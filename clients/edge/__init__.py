"""How fedrec comes onto a device and stays current there: bundle, versions with roll-back, system units, images."""
