"""Serving the application on a port of this machine, until it is told to stop."""

import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from egtr.structures import ConfigurationError

from .app import create_app
from .limits import Limits
from .models import ModelStore
from .security import is_loopback
from .worker import Worker

LOOPBACK = "127.0.0.1"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    store: ModelStore,
    host: str = LOOPBACK,
    port: int = 8000,
    limits: Limits | None = None,
    public_names: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM or SIGINT (Ctrl-C), then finish the requests that have arrived, and return.

    It prints the address as soon as it accepts requests, while the default model is still loading. Only the main
    thread may call this, and only once in a process.

    Args:
        store: the models to choose from.
        host: name or address to listen on. If it is not a loopback address, other machines can send requests, too:
            there are no passwords.
        port: port to listen on; 0 for any free one.
        limits: limits of every request; by default those of :class:`Limits`.
        public_names: names of a proxy in front of the server, see :func:`egtr.serving.create_app`.

    Raises:
        ConfigurationError: the port is taken or not allowed, or a public name is not one.
        EGTRError: the default model cannot be loaded.
    """
    limits = limits or Limits()
    worker = Worker(limits)
    with listen(host, port) as listener:
        only_loopback = is_loopback(host)
        server = create_server(store, worker, only_loopback=only_loopback, public_names=public_names)
        # uvicorn shuts down cleanly, but then raises the signal again for the handlers that were there before.
        former = {number: signal.signal(number, lambda *_: _stop(server)) for number in SIGNALS}
        loading = worker.submit(store.load, store.default)
        loading.add_done_callback(lambda done: done.cancelled() or done.exception() is None or _stop(server))
        if not only_loopback:
            print(
                f"warning: {host} can be reached from elsewhere, and everyone who reaches it may use the models",
                file=sys.stderr,
            )
        print(f"Serving {', '.join(store.names)} at {_address(listener)} - Ctrl-C ends it", flush=True)
        try:
            server.run(sockets=[listener])
        finally:
            worker.close()
            for number, handler in former.items():
                signal.signal(number, handler)
    if loading.done() and not loading.cancelled():
        loading.result()


def create_server(
    store: ModelStore, worker: Worker, *, only_loopback: bool = True, public_names: Sequence[str] = ()
) -> uvicorn.Server:
    """Create the server of the application, without listening yet.

    Args:
        store, worker, only_loopback, public_names: see :func:`egtr.serving.create_app`.
    """
    config = uvicorn.Config(
        create_app(store, worker, only_loopback=only_loopback, public_names=public_names),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        # uvicorn's own configuration closes the handlers of all libraries, and absl's then closes sys.stderr.
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(2 * worker.limits.timeout) + 1,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket for a server.

    Args:
        host: an address; with ":" one of IPv6.
        port: 0 takes any free one.

    Raises:
        ConfigurationError: the address is not one of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"{host}, port {port}: {error}; take another port, 0 for any free one") from error
    # Connections inherit this. Without it, an answer waits 40 ms for the receipt of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _stop(server: uvicorn.Server) -> None:
    server.should_exit = True
