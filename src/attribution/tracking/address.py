"""Where the mirror is written: a local SQLite file, or the server that MLFLOW_TRACKING_URI names.

Credentials may stand in that address (http://user:password@host). They are taken out here, at the door: what is
printed, stored in the state file or handed on as an address never holds them. Standard library only.
"""

import contextlib
import os
import re
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

VARIABLE = "MLFLOW_TRACKING_URI"
CONNECT_SECONDS = 3.0


@dataclass(frozen=True)
class Address:
    """An address without credentials, and the credentials apart from it, in no `repr`."""

    uri: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def default_uri(study: str) -> str:
    """The local mirror of a study, relative to the root of the project."""
    return f"sqlite:///results/{study}/tracking/mlflow.db"


def is_http(uri: str) -> bool:
    """True for the address of a server."""
    return re.match(r"\s*https?://", uri, re.IGNORECASE) is not None


def choose(study: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """The address to write to, and a warning where MLFLOW_TRACKING_URI is set to what is no server; its value is not
    repeated, as it may hold a password."""
    uri = environ.get(VARIABLE, "").strip()
    if not uri or is_http(uri):
        return uri or default_uri(study), None
    return default_uri(study), f"{VARIABLE} is no http(s) address and is ignored; writing to {default_uri(study)}"


def parse(uri: str) -> Address:
    """Take user, password, query and fragment out of a server's address; a SQLite address stays as it is.

    The cut is made at the last @, wherever it stands: a password with an unescaped / or @ in it must not leak.
    """
    uri = uri.strip()
    if not is_http(uri):
        return Address(uri)
    scheme, rest = uri.split("://", 1)
    credentials, _, rest = rest.rpartition("@")
    username, _, password = credentials.partition(":")
    place = re.split(r"[?#]", rest, maxsplit=1)[0].rstrip("/")
    return Address(f"{scheme.lower()}://{place}", unquote(username), unquote(password))


def unreachable(address: Address) -> str | None:
    """Why no connection to the server can be opened, or None. One attempt, a few seconds, no mlflow.

    A server behind a proxy is taken as reachable: only the proxy can tell.
    """
    try:
        parts = urlsplit(address.uri)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        return str(error)
    if not host:
        return "no host in the address"
    if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(host):
        return None
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def scrub(text: str, address: Address) -> str:
    """The first line of a message, without credentials and not longer than a line."""
    line = (text.strip().splitlines() or [""])[0]
    line = re.sub(r"(https?://)[^\s'\"]*@", r"\1", line, flags=re.IGNORECASE)
    line = line.replace(address.password, "***") if address.password else line
    return line if len(line) <= 200 else f"{line[:197]}..."


@contextlib.contextmanager
def credentials(address: Address) -> Iterator[None]:
    """Hand the credentials to mlflow by its environment variables, the only way that keeps them out of its messages."""
    given = {"MLFLOW_TRACKING_USERNAME": address.username, "MLFLOW_TRACKING_PASSWORD": address.password}
    given = {name: value for name, value in given.items() if value}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
