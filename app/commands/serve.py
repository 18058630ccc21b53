"""`pellucid serve`, `pellucid demo` and `pellucid worker`: what keeps running."""

import os
import socket
from dataclasses import replace

import click

from app.commands.call import Call, command
from cbm.errors import StoreError, UsageError

PORTS = range(8501, 8521)


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""

    @command(main, "serve")
    @click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is everywhere.")
    @click.option("--port", type=click.IntRange(1, 65535), help="Port; else the first free one from 8501.")
    @click.option("--allowed-host", "hosts", multiple=True, metavar="NAME", help="Host name to answer; repeatable.")
    @click.option("--no-worker", is_flag=True, help="Start no job worker; run `pellucid worker` elsewhere.")
    @click.option("--no-browser", is_flag=True, help="Do not open the browser.")
    @click.option("--api", is_flag=True, help="Also serve the REST interface under /api; it asks for a token.")
    def serve(
        call: Call, host: str, port: int | None, hosts: tuple[str, ...], no_worker: bool, no_browser: bool, api: bool
    ) -> None:
        """Serve the web app, with a job worker beside it.

        \b
        Example:
          pellucid serve --port 8080 --no-browser
        """
        served = replace(call, settings=replace(call.settings, api=True)) if api else call
        _serve(served, host, port, hosts=hosts, worker=not no_worker, browser=not no_browser)

    @command(main, "demo", computing=True)
    @click.option("--no-serve", is_flag=True, help="Only build the demo workspace.")
    @click.option("--port", type=click.IntRange(1, 65535), help="Port; else the first free one from 8501.")
    @click.option("--no-browser", is_flag=True, help="Do not open the browser.")
    def demo(call: Call, no_serve: bool, port: int | None, no_browser: bool) -> None:
        """Build the demo workspace, then serve it.

        What is there already costs nothing, and a build that was stopped goes on. Methods that the tour does not need
        are fitted as jobs once the app is served; with --no-serve all are fitted now.

        \b
        Example:
          pellucid demo --no-serve --workspace demo/
        """
        from app import demo

        built = demo.build(call.ws, leave=not no_serve, on_step=call.note, on_progress=call.progress)
        if no_serve:
            call.answer(built, f"the demo workspace is in {call.settings.home}")
        else:
            _serve(call, "127.0.0.1", port, hosts=(), worker=True, browser=not no_browser)

    @command(main, "worker")
    @click.option("--drain", is_flag=True, help="Stop when no job waits.")
    @click.option("--only", multiple=True, metavar="KIND", help="Take only jobs such as embed-part; repeatable.")
    def worker(call: Call, drain: bool, only: tuple[str, ...]) -> None:
        """Take jobs from the queue and run them.

        Any number of workers, on any host that shares the workspace and its database.

        \b
        Example:
          pellucid worker --drain
        """
        from app import worker

        os.environ.update(call.settings.to_environment())
        worker.main([*(["--drain"] if drain else []), *(f"--only={kind}" for kind in only)])


def _serve(call: Call, host: str, port: int | None, *, hosts: tuple[str, ...], worker: bool, browser: bool) -> None:
    call.ws.close()  # made and migrated, so that the server and its worker find it ready
    chosen = free_port(host, port)
    if host == "0.0.0.0" and not hosts:
        call.note("answering any host name; name yours with --allowed-host when this is more than a trial")
    from app import asgi

    asgi.run(call.settings, host=host, port=chosen, worker=worker, browser=browser, hosts=hosts)


def free_port(host: str, port: int | None) -> int:
    """The port if it is free, or the first free one of `PORTS` when none was asked for.

    Raises
    ------
    StoreError
        If it is taken.
    """
    for candidate in PORTS if port is None else [port]:
        try:
            with socket.create_server((host, candidate)):
                return candidate
        except socket.gaierror as error:
            raise UsageError(f"{host} is not an address of this machine", hint="try --host 127.0.0.1") from error
        except OSError:
            continue
    taken = f"port {port} is" if port else f"the ports {PORTS[0]} to {PORTS[-1]} are"
    raise StoreError(f"{taken} in use", hint="stop the other server, or choose another with --port")
