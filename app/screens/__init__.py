"""The screens: one thin script each, run by `app/main.py`, never imported."""
