"""Runs a program and stops one of its threads by name, and no other: `stop_thread.py NAME PROGRAM ARGUMENT...`.

A line on the standard input stops the thread (ptrace), the next lets it go on, and so on; each is answered by a line. As the
parent it may do that without rights of its own. At the end of its input it waits for the program and ends with its exit code; the
program does not outlive it.
"""

import ctypes
import os
import signal
import subprocess
import sys

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
ALL_THREADS = 0x40000000  # __WALL

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def named(process, name):
    tasks = f"/proc/{process}/task"
    for thread in os.listdir(tasks):
        with open(f"{tasks}/{thread}/comm", encoding="utf-8") as comm:
            if comm.read().strip() == name:
                return int(thread)
    raise SystemExit(f"no thread {name}")


def main():
    die_with_parent = lambda: libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    print(child.pid, flush=True)
    thread = None
    for _ in sys.stdin:
        if thread is None:
            thread = named(child.pid, sys.argv[1])
            ptrace(SEIZE, thread)
            ptrace(INTERRUPT, thread)
            os.waitpid(thread, ALL_THREADS)
            print("stopped", flush=True)
        else:
            ptrace(DETACH, thread)
            thread = None
            print("goes on", flush=True)
    return child.wait()


sys.exit(main())
