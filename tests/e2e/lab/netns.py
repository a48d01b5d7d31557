"""Network namespaces without a name: one lives as long as an object, a socket or a process in it.

Needs root.  Namespaces belong to threads, so what has to happen inside one happens in a thread that
enters it and ends; sockets and processes made there stay inside.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading

CLONE_NEWNET = 0x40000000
SIOCETHTOOL = 0x8946
ETHTOOL_OFF = (0x17, 0x1F, 0x24)  # transmit checksums, TCP segmentation, generic segmentation

_libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why namespaces cannot be used here, or None."""
    if os.geteuid() != 0:
        return "needs root for a network namespace"
    try:
        NetNs().close()
    except OSError as error:
        return f"no network namespaces here: {error}"
    return None


def why_not_ip6():
    """Why a namespace cannot have IPv6 here, or None."""
    ns = NetNs()
    try:
        ns.run("ip", "addr", "add", "2001:db8::1/128", "dev", "lo")
    except OSError as error:
        return f"no IPv6 in network namespaces here: {error}"
    finally:
        ns.close()
    return None


def _check(result):
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def _in_thread(enter, function):
    outcome = {}

    def body():
        try:
            enter()
            outcome["value"] = function()
        except BaseException as error:  # handed to the caller below
            outcome["error"] = error

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


class NetNs:
    def __init__(self):
        self.fd = _in_thread(
            lambda: _check(_libc.unshare(CLONE_NEWNET)),
            lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC),
        )

    def close(self):
        os.close(self.fd)

    def call(self, function):
        return _in_thread(lambda: _check(_libc.setns(self.fd, CLONE_NEWNET)), function)

    def run(self, *argv):
        done = self.call(
            lambda: subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        )
        if done.returncode != 0:
            raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def veth(self, a, b):
        """Two joined interfaces, both up, whose frames carry finished checksums, as on a wire."""
        self.run("ip", "link", "add", a, "type", "veth", "peer", "name", b)
        for name in (a, b):
            self.call(lambda name=name: _no_offloads(name))
            self.run("ip", "link", "set", name, "up")


def _no_offloads(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command in ETHTOOL_OFF:
            value = bytearray(struct.pack("=II", command, 0))
            buffer = (ctypes.c_char * len(value)).from_buffer(value)
            request = struct.pack("16sP", name.encode(), ctypes.addressof(buffer))
            fcntl.ioctl(s, SIOCETHTOOL, request)
