#!/usr/bin/env python3
"""Where the bytes of a program are: `size.py PROGRAM [--prefix aarch64-linux-gnu-] [--most 40]`. The program must have its symbols.

Sections as the linker wrote them, then code and named data by crate. A function of the standard library that was made for a crate's type
counts for the crate. What has no symbol (constants, unwind tables, relocations) is in the sections alone.
"""

import argparse
import collections
import re
import subprocess

# A path's first part: `tokio` of `<tokio::task::Task as core::future::Future>::poll`.
ROOT = re.compile(r"(?<![\w:$])([A-Za-z_]\w*)(?:\[[0-9a-f]+\])?::")
STANDARD = {"core", "alloc", "std", "hashbrown", "compiler_builtins", "rustc_demangle", "gimli", "addr2line", "miniz_oxide", "memchr", "object"}
# Kept in the file and not loaded, or stripped from a package.
NOT_LOADED = re.compile(r"^\.(symtab|strtab|shstrtab|comment|debug.*|note\.gnu\.gold.*)$")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def sections(prefix, program):
    found = {}
    for line in run(prefix + "readelf", "-SW", program).splitlines():
        match = re.match(r"\s*\[\s*\d+\]\s+(\.\S+)\s+(\S+)\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)", line)
        if match and match[2] != "NOBITS" and not NOT_LOADED.match(match[1]):
            found[match[1]] = int(match[3], 16)
    return found


def crate(name):
    roots = ROOT.findall(name)
    own = next((r for r in roots if r not in STANDARD), None)
    if own:
        return own
    if roots:
        return "std"
    return "ring" if name.startswith("ring_core") else "other"


def crates(prefix, program):
    code, data, seen = collections.Counter(), collections.Counter(), set()
    for line in run(prefix + "nm", "--print-size", "--demangle", "--defined-only", program).splitlines():
        match = re.match(r"([0-9a-f]+) ([0-9a-f]+) (\w) (.*)", line)
        # Several names of one place count once.
        if not match or match[1] in seen:
            continue
        seen.add(match[1])
        size, kind, name = int(match[2], 16), match[3].lower(), match[4]
        if kind in "tw":
            code[crate(name)] += size
        elif kind in "rd":
            data[crate(name)] += size
    return code, data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--prefix", default="", help="of binutils for its architecture")
    parser.add_argument("--most", type=int, default=40, help="crates to list")
    args = parser.parse_args()
    found = sections(args.prefix, args.program)
    print(f"{sum(found.values()) / 1e6:8.2f} MB in sections that stay in a stripped program")
    for name, size in sorted(found.items(), key=lambda s: -s[1]):
        if size >= 10_000:
            print(f"{size / 1e6:8.2f} MB {name}")
    code, data = crates(args.prefix, args.program)
    print(f"\n{'code':>8} {'data':>8} MB by crate")
    order = sorted(code | data, key=lambda c: -(code[c] + data[c]))
    for name in order[: args.most]:
        print(f"{code[name] / 1e6:8.3f} {data[name] / 1e6:8.3f} {name}")
    rest = order[args.most :]
    print(f"{sum(code[c] for c in rest) / 1e6:8.3f} {sum(data[c] for c in rest) / 1e6:8.3f} {len(rest)} others")


main()
