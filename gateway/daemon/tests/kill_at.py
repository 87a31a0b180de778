"""Runs a program and kills it where it is about to change a file for the N-th time: `kill_at.py N PROGRAM ARGUMENT...`.

Prints `killed` or `ended CODE`. Counted are writes, what brings to disk, and what names, moves and removes, in the thread that begins.
"""

import ctypes
import os
import platform
import signal
import sys

TRACEME, SYSCALL, SETOPTIONS = 0, 24, 0x4200
SYSGOOD, EXITKILL = 1, 0x100000
CALLS = {
    # write, pwrite64, fsync, fdatasync, ftruncate, rename, mkdir, rmdir, unlink, chmod, fchmod, mkdirat, unlinkat, renameat, fchmodat, renameat2
    "x86_64": {1, 18, 74, 75, 77, 82, 83, 84, 87, 90, 91, 258, 263, 264, 268, 316},
    "aarch64": {34, 35, 38, 46, 52, 53, 64, 68, 82, 83, 276},
}[platform.machine()]

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, process, data=None):
    if libc.ptrace(request, process, None, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def call_of(process):
    """Number of the system call that a stopped process is in."""
    with open(f"/proc/{process}/syscall", encoding="ascii") as file:
        word = file.read().split()[0]
    return int(word) if word.lstrip("-").isdigit() else -1


def main():
    left = int(sys.argv[1])
    process = os.fork()
    if process == 0:
        ptrace(TRACEME, 0)
        os.execv(sys.argv[2], sys.argv[2:])
    os.waitpid(process, 0)
    ptrace(SETOPTIONS, process, SYSGOOD | EXITKILL)
    is_entry, pending = True, 0
    while True:
        ptrace(SYSCALL, process, pending)
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            print("ended", os.waitstatus_to_exitcode(status))
            return
        stop, pending = os.WSTOPSIG(status), 0
        if stop != signal.SIGTRAP | 0x80:
            pending = 0 if stop == signal.SIGTRAP else stop
            continue
        if is_entry and call_of(process) in CALLS:
            left -= 1
            if left == 0:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                print("killed")
                return
        is_entry = not is_entry


main()
