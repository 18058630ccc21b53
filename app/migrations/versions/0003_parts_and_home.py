"""Jobs may be parts of another one; the database knows the folder that it belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("parent", sa.Integer(), nullable=True))
    op.create_index("ix_job_parent", "job", ["parent"])
    op.create_table(
        "home",
        sa.Column("only", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("only", name=op.f("pk_home")),
    )


def downgrade() -> None:
    op.drop_table("home")
    op.drop_index("ix_job_parent", "job")
    op.drop_column("job", "parent")
