"""Alembic migrations; they run when a workspace is opened (`app.db.upgrade`)."""
