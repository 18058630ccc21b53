"""For every test: the shapes that `cbm` and `probes` write in their annotations are checked at run time."""

from jaxtyping import install_import_hook

install_import_hook(["cbm", "probes"], "beartype.beartype")
