"""How fedrec comes onto a device and stays current there: bundle, versions with rollback, system units, images."""
