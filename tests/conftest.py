"""For every test: the shapes that `cbm` and `probes` write in their annotations are checked at run time."""

from jaxtyping import install_import_hook

# As for type checkers, an int will do where a float is wanted.
install_import_hook(["cbm", "probes"], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
