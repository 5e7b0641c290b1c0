"""Where the mirror is written: a local SQLite file, or the server that MLFLOW_TRACKING_URI names.

Credentials may stand in that address (http://user:password@host). They are taken out here, at the door, and handed to
mlflow by its own variables: what is printed or stored as an address never holds them. Standard library only.
"""

import re
from collections.abc import MutableMapping
from urllib.parse import unquote

VARIABLE = "MLFLOW_TRACKING_URI"
USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SERVER = re.compile(r"(https?)://(?:(.*)@)?([^?#]*)", re.IGNORECASE | re.DOTALL)


def choose(study: str, environ: MutableMapping[str, str]) -> tuple[str, str | None]:
    """The address to write to, without credentials, and a warning where MLFLOW_TRACKING_URI is set to what is no
    server; its value is not repeated, as it may hold a password.

    Credentials are moved from the address to mlflow's variables in `environ`. The cut is made at the last @, wherever
    it stands: a password with an unescaped / or @ in it must not leak.
    """
    local = f"sqlite:///results/{study}/tracking/mlflow.db"  # from the root of the project
    given = environ.get(VARIABLE, "").strip()
    server = SERVER.match(given)
    if not server:
        return local, f"{VARIABLE} is no http(s) address and is ignored; writing to {local}" if given else None
    scheme, credentials, place = server.groups()
    if credentials:
        username, _, password = credentials.partition(":")
        environ |= {USERNAME: unquote(username), PASSWORD: unquote(password)}
    environ[VARIABLE] = f"{scheme.lower()}://{place.rstrip('/')}"
    return environ[VARIABLE], None


def scrub(text: str, password: str | None) -> str:
    """The first line of a message, without credentials and not longer than a line."""
    line = (text.strip().splitlines() or [""])[0]
    line = re.sub(r"(https?://)[^\s'\"]*@", r"\1", line, flags=re.IGNORECASE)
    line = line.replace(password, "***") if password else line
    return line if len(line) <= 200 else f"{line[:197]}..."
