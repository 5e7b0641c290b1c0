"""Runs `python -m MODULE ...` in a process forked from one that has the large libraries imported: the same command,
folder, environment and output, without the 3 s of processor time that their import takes in each of a study's jobs. The
process leads a group of its own, which is killed where the command is.

    python warm.py serve SOCKET
    python warm.py SOCKET -m MODULE ARGUMENT...
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys

LIBRARIES = (
    "torch",
    "diffusers.models.unets.unet_2d",
    "diffusers.schedulers.scheduling_ddim",
    "scipy.stats",
    "seaborn",
    "jsonschema",
    "snakemake.cli",
)


def serve(address: str) -> None:
    """Print a line when ready; then one process a connection, until killed. Nothing of the study is imported here."""
    import gc
    import importlib

    for library in LIBRARIES:
        importlib.import_module(library)
    sys.modules["snakemake.cli"].get_argument_parser()  # loads the plugins
    gc.freeze()  # a collection in a fork would copy every page
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = listener.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                return answer(connection)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Run what the client asks for with its three streams, and send the exit status; end with the client."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 18, 3)
    worker = os.fork()
    if worker:
        watched = select.poll()
        for end in (connection.fileno(), os.pidfd_open(worker)):
            watched.register(end, select.POLLIN)
        if any(end == connection.fileno() for end, _ in watched.poll()):  # the client is gone
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker, signal.SIGKILL)
            os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        connection.send(str(status).encode())
        os._exit(0)
    os.setsid()
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    work(**json.loads(message))


def work(folder: str, environment: dict[str, str], module: str, arguments: list[str]) -> None:
    """`python -m module arguments`, as its fresh interpreter would set it up."""
    import atexit
    import runpy
    import traceback

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    searched = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:1] = [folder, *searched]
    sys.argv = [module, *arguments]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the interpreter's own end would free, so copy, every page


def ask(address: str, module: str, arguments: list[str]) -> int:
    """The exit status of the command, run by the server in this process's folder and environment."""
    message = {"folder": os.getcwd(), "environment": dict(os.environ), "module": module, "arguments": arguments}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(address)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        socket.send_fds(connection, [json.dumps(message).encode()], [0, 1, 2])
        return int(connection.recv(16) or 1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[3], sys.argv[4:]))
