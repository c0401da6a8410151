"""A real systemd in namespaces of its own, with the files of this machine: nothing is installed.

It sees this machine's disk, network and programs, but not its units: those are targets that do nothing, and
what a test installs. Whoever may not make namespaces skips; where everything has to be there, a missing
program fails.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

PROGRAM: Final = Path("/lib/systemd/systemd")
BOOT_LIMIT: Final = 60.0
_BOOT: Final = r"""
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /lib/systemd/system
mount -t tmpfs tmpfs /etc/systemd
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
if [ "$1" = 2 ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  mkdir /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi
mkdir /run/dev
mount -t tmpfs -o mode=755 tmpfs /run/dev
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
  set -- $node
  mknod -m 666 /run/dev/$1 c $2 $3
done
mkdir /run/dev/pts /run/dev/shm
for name in fd:/proc/self/fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
  ln -s "${name#*:}" "/run/dev/${name%%:*}"
done
mkfifo /run/dev/console
mount --move /run/dev /dev
sleep infinity <>/dev/console &
mkdir /etc/systemd/system
cd /lib/systemd/system
for name in sysinit basic sockets multi-user network-online shutdown umount final; do
  printf '[Unit]\nDefaultDependencies=no\n' >"$name.target"
done
printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\nWants=basic.target\n' >start.target
exec env -i container=hestia PATH="$PATH" /lib/systemd/systemd --unit=start.target --show-status=no
"""


class Systemd:
    """One that runs. pid: of its process 1, as seen from here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program in there. more: environment."""
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-a", *words],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **more},
        )

    def systemctl(self, *words: str) -> str:
        """What systemctl prints; a failure fails the test."""
        done = self.run("systemctl", *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def property(self, unit: str, name: str) -> str:
        return self.systemctl("show", "--property", name, "--value", unit)


def _lacking(what: str) -> None:
    if os.environ.get("HESTIA_TEST_REQUIRE_ALL"):
        pytest.fail(f"{what} is missing: run tests/e2e/install.sh")
    pytest.skip(f"{what} is missing")


@contextlib.contextmanager
def real_systemd(folder: Path) -> Iterator[Systemd]:
    """Boot one; everything in there is gone in the end. folder: for what it says."""
    for part in (str(PROGRAM), "unshare", "nsenter", "systemctl"):
        if shutil.which(part) is None:
            _lacking(part)
    spaces = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child=KILL"]
    wall = ["unshare", *spaces, "--propagation", "private"]
    if subprocess.run([*wall, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True).returncode:
        pytest.skip("namespaces with file systems of their own cannot be made here")
    second = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    group = Path("/sys/fs/cgroup" if second else "/sys/fs/cgroup/systemd") / f"hestia-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as exc:
        pytest.skip(f"a control group cannot be made here: {exc}")
    enter = f'echo $BASHPID >{group}/cgroup.procs; exec setsid {" ".join(wall)} bash -c "$0" bash $1'
    with (folder / "systemd").open("wb") as said:
        outer = subprocess.Popen(
            ["bash", "-c", enter, _BOOT, "2" if second else "1"],
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield Systemd(_booted(outer, folder / "systemd"))
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(outer.pid).children():
                child.send_signal(signal.SIGKILL)
        outer.wait(30)
        for path, _, _ in os.walk(group, topdown=False):
            os.rmdir(path)


def _booted(outer: subprocess.Popen[bytes], said: Path) -> int:
    """Wait until it runs; its pid."""
    until = time.monotonic() + BOOT_LIMIT
    while time.monotonic() < until and outer.poll() is None:
        for child in psutil.Process(outer.pid).children():
            state = subprocess.run(
                ["nsenter", "-t", str(child.pid), "-a", "systemctl", "is-system-running"],
                capture_output=True,
                text=True,
            ).stdout.strip()
            if state in ("running", "degraded"):
                return child.pid
        time.sleep(0.05)
    raise AssertionError(f"systemd did not boot: {said.read_text()}")
