#!/usr/bin/env python3
"""A manual page of what a program says about itself: `man.py "SUMMARY" DATE PROGRAM...`, PROGRAM with what runs it before it.

The verbs and their options are asked for by --help, so that the page cannot say anything else than the program.
"""

import re
import subprocess
import sys


def help_of(command, verbs):
    run = subprocess.run([*command, *verbs, "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "90", "PATH": "/usr/bin:/bin"})
    return run.stdout.rstrip()


def verbs_of(text):
    found = re.search(r"^Commands:\n((?:.*\n?)*?)(?:\n\S|\Z)", text, re.MULTILINE)
    names = re.findall(r"^  ([a-z][a-z-]*)(?:\s|$)", found.group(1), re.MULTILINE) if found else []
    return [n for n in names if n != "help"]


def quoted(text):
    lines = [line.replace("\\", "\\e").replace("-", "\\-") for line in text.splitlines()]
    return "\n".join("\\&" + line if line[:1] in ".'" else line for line in lines)


def sections(command, name, verbs):
    text = help_of(command, verbs)
    title = " ".join([name, *verbs]) if verbs else "DESCRIPTION"
    yield f'.{"SS" if verbs else "SH"} "{quoted(title)}"\n.nf\n{quoted(text)}\n.fi'
    below = verbs_of(text)
    if below and not verbs:
        yield ".SH VERBS"
    for verb in below:
        yield from sections(command, name, [*verbs, verb])


def main():
    summary, date, *command = sys.argv[1:]
    name = command[-1].rsplit("/", 1)[-1]
    print(f'.TH {name.upper()} 1 {date} Twinway "Twinway manual"')
    print(f".SH NAME\n{quoted(name)} \\- {quoted(summary)}")
    print("\n".join(sections(command, name, [])))


main()
