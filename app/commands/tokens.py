"""`pellucid token`: who may use the REST interface of `pellucid serve --api`."""

from dataclasses import asdict

import click

from app.commands.call import Call, command, table


def register(main: click.Group) -> None:
    """Add the group to `pellucid`."""
    main.add_command(token)


@click.group()
def token() -> None:
    """Tokens for the REST interface: create, list, revoke."""


@command(token, "create")
@click.argument("name")
@click.option("--write", is_flag=True, help="It may also edit models.")
def create(call: Call, name: str, write: bool) -> None:
    """Make a token; it is shown once and cannot be read again.

    \b
    Example:
      pellucid token create notebook --write
    """
    from app.tokens import create_token

    secret = create_token(call.ws, name, writes=write)
    call.answer({"name": name, "writes": write, "token": secret}, secret)


@command(token, "list")
def list_(call: Call) -> None:
    """All tokens, without what they are.

    \b
    Example:
      pellucid token list
    """
    from app.tokens import tokens

    items = [asdict(row) for row in tokens(call.ws)]
    empty = "no tokens; make one with: pellucid token create NAME"
    call.answer({"items": items}, table(items, ("name", "writes", "created"), empty=empty))


@command(token, "revoke")
@click.argument("name")
def revoke(call: Call, name: str) -> None:
    """Make a token useless.

    \b
    Example:
      pellucid token revoke notebook
    """
    from app.tokens import revoke_token

    revoke_token(call.ws, name)
    call.answer({"name": name, "revoked": True}, f"{name} is revoked")
