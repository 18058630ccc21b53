"""The commands of `pellucid`, one module a noun; each calls the same functions as the screens."""
