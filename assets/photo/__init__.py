"""The alignment head of `builtin:photo`, and the scripts that made and measured it; nothing else imports them."""
