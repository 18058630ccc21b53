"""How long every screen takes on a data set of many images, on the server and in a browser."""
