"""Two hosts on one machine: namespaces of their own, and a cable between them that can be pulled.

Each host has its address, host name, processes, shared memory and /tmp/ray, so that nothing but the
network tells one of the other; else they share the file system. All of it ends with this process,
however that ends: a host's first process ends when its standard input does, and takes all with it.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

NETWORK = "192.0.2.0/24"  # reserved for examples (RFC 5737)
_CARD = "eth0"
_NAMESPACES = ("--net", "--uts", "--ipc", "--pid", "--mount")
# Waits for the end of its input; bash reaps orphans, as the first process of a host must.
_FIRST_PROCESS = """
set -e
hostname "$0"
mount -t tmpfs -o size=4g tmpfs /dev/shm
mkdir -p /tmp/ray
mount -t tmpfs -o size=1g tmpfs /tmp/ray
ip link set lo up
echo ready
while read -r _; do :; done
"""


class Host:
    """One host: a context manager.

    Args:
        name: its host name.
        address: in NETWORK.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._holder: subprocess.Popen[str] | None = None
        self.pid = 0  # of its first process

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            [
                *("unshare", *_NAMESPACES, "--mount-proc", "--fork", "--kill-child"),
                *("bash", "-c", _FIRST_PROCESS, self.name),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != "ready":
            _, why = self._holder.communicate()
            pytest.skip(f"needs network namespaces: {why.strip()}")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self.pid = int(children.read_text())
        return self

    def __exit__(self, *_error: object) -> None:
        if self._holder is not None:
            self._holder.communicate()  # its input ends
            self._holder = None

    def prefix(
        self, namespaces: Sequence[str] = _NAMESPACES, *, folder: Path | str = "/"
    ) -> list[str]:
        """What to write before a command that shall run here, in a folder."""
        return ["nsenter", f"--target={self.pid}", *namespaces, "--", "env", f"--chdir={folder}"]

    def run(
        self,
        *command: str,
        namespaces: Sequence[str] = _NAMESPACES,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """What a command prints that ends by itself, even if it leaves others running."""
        with tempfile.TemporaryFile("w+") as output:  # not a pipe: those would keep it open
            done = subprocess.run(
                [*self.prefix(namespaces), *command],
                env=None if env is None else {**os.environ, **env},
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            output.seek(0)
            printed = output.read()
        assert done.returncode == 0, f"{command}: {printed}"
        return printed

    def cut_off(self) -> None:
        """Pulls the cable: nobody is told, what is sent is lost."""
        self.run("ip", "link", "set", _CARD, "down")

    def connect_again(self) -> None:
        """Puts it back."""
        self.run("ip", "link", "set", _CARD, "up")


@contextmanager
def connected_hosts(*names: str) -> Iterator[Sequence[Host]]:
    """Two hosts with a cable between them; skipped where they cannot be made."""
    assert len(names) == 2
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces")
    for program in ("unshare", "nsenter", "ip", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (apt-get install iproute2 util-linux)")
    base, _, width = NETWORK.rpartition("/")
    with ExitStack() as stack:
        hosts = [
            stack.enter_context(Host(name, f"{base.rpartition('.')[0]}.{number}"))
            for number, name in enumerate(names, start=1)
        ]
        first, second = hosts
        first.run(
            *("ip", "link", "add", _CARD, "type", "veth"),
            *("peer", "name", _CARD, "netns", str(second.pid)),
            namespaces=("--net",),  # and our own processes, to name the second by
        )
        for host in hosts:
            host.run("ip", "address", "add", f"{host.address}/{width}", "dev", _CARD)
            host.run("ip", "link", "set", _CARD, "up")
        yield hosts
