"""The web app, the command line and the workers: everything that moves the values of `cbm` and `probes` about."""
