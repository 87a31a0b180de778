#!/usr/bin/env python3
"""What a shell completes of a program: `completions.py bash|zsh|fish PROGRAM...`, PROGRAM with what runs it before it.

The verbs and their options are asked for by --help, as for the manual page, so that neither can say anything else than the program.
For the daemons: they would have to bring the generator of these with them.
"""

import re
import subprocess
import sys


def help_of(command, verbs):
    run = subprocess.run([*command, *verbs, "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "400", "PATH": "/usr/bin:/bin"})
    return run.stdout


def below(text, heading):
    """The lines of a section."""
    found = re.search(rf"^{heading}:\n((?:(?:[ \t].*)?\n)*)", text + "\n", re.MULTILINE)
    return found.group(1).splitlines() if found else []


def first_sentence(text):
    return re.split(r"(?<=[A-Za-z0-9)`])[.:;] ", re.sub(r"\s*\[[a-z ]+: [^]]*\]", "", text.strip()))[0].rstrip(".")


def entries(lines, pattern):
    """Names that match, each with what is said of it, beside it or in the lines below."""
    found = []
    for line in lines:
        match = re.match(pattern, line)
        if match:
            found.append([match, line[match.end():].strip()])
        elif found and line.strip() and not found[-1][1]:
            found[-1][1] = line.strip()
    return [(match, first_sentence(said)) for match, said in found]


def tree(command, verbs=()):
    """Verbs above, verbs below with what is said of them, options as (short, long, whether a value follows, what is said)."""
    text = help_of(command, list(verbs))
    options = [
        (m.group(1), m.group(2), m.group(3) is not None, said)
        for m, said in entries(below(text, "Options"), r"^\s+(?:(-\w)(?:, )?)?(--[a-z][a-z-]*)?( <[^>]+>)?")
        if m.group(1) or m.group(2)
    ]
    verbs_below = [(m.group(1), said) for m, said in entries(below(text, "Commands"), r"^  ([a-z][a-z-]*)(?=\s|$)") if m.group(1) != "help"]
    yield tuple(verbs), verbs_below, options
    for verb, _ in verbs_below:
        yield from tree(command, (*verbs, verb))


def words(verbs, options):
    return " ".join([v for v, _ in verbs] + [o for short, long, _, _ in options for o in (short, long) if o])


def bash(name, nodes):
    function = "_" + name.replace("-", "_")
    print(f"{function}() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} verbs= word\n  COMPREPLY=()")
    known = " ".join(sorted({v for _, verbs, _ in nodes for v, _ in verbs}))
    print(f'  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do\n    case " {known} " in *" $word "*) verbs="$verbs $word" ;; esac\n  done')
    values = sorted({o for _, _, options in nodes for short, long, value, _ in options if value for o in (short, long) if o})
    if values:
        print(f'  case "${{COMP_WORDS[COMP_CWORD-1]}}" in\n    {"|".join(values)}) compopt -o default; return ;;\n  esac')
    print('  case "$verbs" in')
    for verbs, below_it, options in nodes:
        at = "".join(f" {v}" for v in verbs)
        print(f'    "{at}") COMPREPLY=($(compgen -W "{words(below_it, options)}" -- "$cur")) ;;')
    print(f"  esac\n  [ ${{#COMPREPLY[@]}} -gt 0 ] || compopt -o default\n}}\ncomplete -F {function} {name}")


def quoted(text):
    return text.replace("\\", "\\\\").replace("'", "'\\''").replace(":", "\\:").replace("[", "(").replace("]", ")")


def zsh(name, nodes):
    function = "_" + name
    print(f"#compdef {name}\n\n{function}() {{\n  local verbs= word\n  local -a known\n  known=({' '.join(sorted({v for _, verbs, _ in nodes for v, _ in verbs}))})")
    print('  for word in "${words[@]:1:$((CURRENT - 2))}"; do\n    (( ${known[(Ie)$word]} )) && verbs="$verbs $word"\n  done')
    print("  local -a below options\n  case $verbs in")
    for verbs, below_it, options in nodes:
        at = "".join(f" {v}" for v in verbs)
        print(f"    '{at}')")
        print("      below=(" + " ".join(f"'{v}:{quoted(said)}'" for v, said in below_it) + ")")
        print("      options=(" + " ".join(f"'{o}:{quoted(said)}'" for short, long, _, said in options for o in (short, long) if o) + ") ;;")
    print("  esac\n  if [[ $words[CURRENT] == -* ]]; then _describe option options; return; fi")
    print(f'  (( ${{#below}} )) && _describe verb below\n  (( ${{#below}} )) || _files\n}}\n\n{function} "$@"')


def fish(name, nodes):
    for verbs, below_it, options in nodes:
        parts = [f"__fish_seen_subcommand_from {v}" for v in verbs]
        parts += [f"not __fish_seen_subcommand_from {' '.join(v for v, _ in below_it)}"] if below_it else []
        condition = "; and ".join(parts or ["true"])
        said_of = lambda said: said.replace("\\", "\\\\").replace("'", "\\'")
        for verb, said in below_it:
            print(f"complete -c {name} -n '{condition}' -f -a {verb} -d '{said_of(said)}'")
        for short, long, value, said in options:
            parts = [f"-s {short[1:]}" if short else "", f"-l {long[2:]}" if long else "", "-r" if value else ""]
            print(f"complete -c {name} -n '{condition}' {' '.join(p for p in parts if p)} -d '{said_of(said)}'")


def main():
    shell, *command = sys.argv[1:]
    name = command[-1].rsplit("/", 1)[-1]
    {"bash": bash, "zsh": zsh, "fish": fish}[shell](name, list(tree(command)))


main()
