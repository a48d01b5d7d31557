"""What a service manager is told, and that it is told nothing more when something hangs."""

import ctypes
import os
import pathlib
import socket
import subprocess
import time

import pytest

from lab.programs import Memif, Tower, path_of, wait_until


class Manager:
    """The socket of a service manager that wants a sign of life each second."""

    def __init__(self, folder, monkeypatch):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(folder / "notify.sock"))
        self.sock.setblocking(False)
        self.said = []
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify.sock"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)

    def heard(self, text):
        while True:
            try:
                self.said.append(self.sock.recv(4096).decode())
            except BlockingIOError:
                break
        return [s for s in self.said if s.startswith(text)]


def linked_to_systemd(program):
    return "libsystemd" in subprocess.run(["ldd", path_of(program)], capture_output=True, text=True).stdout


@pytest.mark.parametrize("which", ["vigild", "vigil-dataplane"])
def test_O02_the_service_manager_is_told(programs, folder, monkeypatch, which):
    if not linked_to_systemd(which):
        pytest.skip("built without libsystemd")
    manager = Manager(folder, monkeypatch)
    tower = Tower(folder, Memif(folder))
    try:
        if which == "vigild":
            tower.start_control()
            program = tower.control
        else:
            # An lcore that may nap for a second, were there no watchdog.
            tower.dataplane_options = ["--idle-sleep-us", "1000000"]
            tower.lcores = "0@0,1@1"
            tower.start_dataplane()
            program = tower.dataplane
        wait_until(lambda: manager.heard("READY=1"), "READY=1")
        cnt = len(manager.heard("WATCHDOG=1"))
        wait_until(lambda: len(manager.heard("WATCHDOG=1")) >= cnt + 3, "signs of life")
        assert manager.heard("STATUS=")
        program.terminate()
        assert manager.heard("STOPPING=1") == ["STOPPING=1"]
        assert manager.said.index("READY=1") < manager.said.index("STOPPING=1")
    finally:
        tower.kill()


class Frozen:
    """One thread of a program stands still; the others do not notice."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid):
        self.tid = tid
        self.libc = ctypes.CDLL(None, use_errno=True)

    def _ptrace(self, what):
        if self.libc.ptrace(what, self.tid, None, None) != 0:
            pytest.skip(f"this system lets nobody trace: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):
        self._ptrace(self.SEIZE)
        self._ptrace(self.INTERRUPT)
        os.waitpid(self.tid, self.WALL)

    def __exit__(self, *_):
        self._ptrace(self.DETACH)


def test_a_hung_lcore_ends_the_signs_of_life(programs, folder, monkeypatch):
    if not linked_to_systemd("vigil-dataplane"):
        pytest.skip("built without libsystemd")
    manager = Manager(folder, monkeypatch)
    tower = Tower(folder, Memif(folder))
    tower.lcores = "0@0,1@1"
    try:
        tower.start_dataplane()
        wait_until(lambda: manager.heard("WATCHDOG=1"), "a sign of life")
        tasks = pathlib.Path(f"/proc/{tower.dataplane.pid}/task")
        (worker,) = [t.name for t in tasks.iterdir() if "worker" in (t / "comm").read_text()]

        def silent():
            """For twice the time after which the manager acts: one that was due may come before."""
            seen = len(manager.heard("WATCHDOG=1"))
            time.sleep(2)
            return len(manager.heard("WATCHDOG=1")) == seen

        with Frozen(int(worker)):
            wait_until(silent, "silence: the other lcore covers the hung one")
            cnt = len(manager.heard("WATCHDOG=1"))
        wait_until(lambda: len(manager.heard("WATCHDOG=1")) > cnt, "signs of life again")
        tower.dataplane.terminate()
    finally:
        tower.kill()
