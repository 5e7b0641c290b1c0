"""Write one of the two locks: every distribution that envs/requirements.in resolves to, as plain `name==version` lines.

    python envs/lock.py cpu  > envs/cpu.lock.txt     resolves anew
    python envs/lock.py cuda > envs/cuda.lock.txt    the same versions, plus what torch's CUDA build brings

No requirement marker can tell the two builds of torch apart, hence two files. pip resolves without installing
(`--dry-run --report`) and reads the wheels' metadata by range requests, so that no gigabytes of CUDA libraries are
fetched. The CUDA lock is resolved without pip's configuration files, whose find-links may point at CPU wheels; an
index of one's own is still taken from PIP_INDEX_URL. `make locks` runs both.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ENVS = Path(__file__).parent
CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton$)")  # what torch's CUDA build needs and its CPU build does not
HEADERS = {
    "cpu": """\
# CPU environment: a full freeze of envs/requirements.in for Python 3.11, written by `make locks`; do not edit by hand.
# Where pip is offered a CPU build of torch (find-links, an extra index) it takes that one; else it takes the default
# build with its CUDA libraries, which runs on a CPU as well and is larger.
""",
    "cuda": """\
# GPU environment: the versions of envs/cpu.lock.txt, plus what torch's CUDA build needs; written by `make locks`.
# Install it where pip is offered no CPU build of torch (neither find-links nor an extra index).
""",
}


def resolve(variant: str) -> dict[str, str]:
    """{distribution name: version} of the whole closure of requirements.in."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["--use-feature=fast-deps", "--requirement", str(ENVS / "requirements.in")]
    environment = dict(os.environ)
    if variant == "cuda":
        command += ["--constraint", str(ENVS / "cpu.lock.txt")]
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"envs/lock.py: pip could not resolve envs/requirements.in for {variant} (its message is above)")
    found = (item["metadata"] for item in json.loads(done.stdout)["install"])
    return {item["name"]: item["version"].split("+")[0] for item in found}


def lock(variant: str) -> str:
    """The text of the lock: a header and one sorted `name==version` line a distribution."""
    versions = resolve(variant)
    extras = sorted(name for name in versions if CUDA_ONLY.match(name.lower()))
    if variant == "cpu":
        versions = {name: version for name, version in versions.items() if name not in extras}
    elif not extras:
        sys.exit("envs/lock.py: pip chose a CPU build of torch; the CUDA lock needs an index with the CUDA build")
    pins = sorted((f"{name}=={version}" for name, version in versions.items()), key=str.lower)
    return HEADERS[variant] + "\n".join(pins) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in HEADERS:
        sys.exit("usage: python envs/lock.py cpu|cuda")
    sys.stdout.write(lock(sys.argv[1]))
