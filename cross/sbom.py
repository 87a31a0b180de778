#!/usr/bin/env python3
"""What a program is made of: `sbom.py PACKAGE... --target TRIPLE --sbom FILE --licenses FILE`.

Writes a CycloneDX 1.5 document of all crates that are linked into the packages for that target, and the texts of their licences. From
`cargo metadata` and Cargo.lock alone; the time is that of SOURCE_DATE_EPOCH, so that the same sources give the same bytes.
"""

import argparse
import datetime
import glob
import hashlib
import json
import os
import re
import subprocess
import tomllib
import uuid


def metadata(target):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def linked(data, names):
    """Packages that are linked into those of these names, and what each depends on."""
    packages = {p["id"]: p for p in data["packages"]}
    nodes = {n["id"]: n for n in data["resolve"]["nodes"]}
    waiting = [p["id"] for p in packages.values() if p["name"] in names and p["id"] in data["workspace_members"]]
    found = {}
    while waiting:
        own = waiting.pop()
        if own in found:
            continue
        normal = [d["pkg"] for d in nodes[own]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
        # A macro runs while the program is built and is not in it.
        normal = [d for d in normal if not any("proc-macro" in t["kind"] for t in packages[d]["targets"])]
        found[own] = normal
        waiting += normal
    return {own: (packages[own], needs) for own, needs in found.items()}


def built(names, target):
    """Name and version of every crate that cargo takes for these packages, as FEATURES says of cross/build.sh. The metadata are of the
    whole workspace, and know no build without a feature that some other member asks for."""
    command = ["cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--target", target]
    command += [part for name in names for part in ("--package", name)] + os.environ.get("FEATURES", "").split()
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {(words[0], words[1][1:]) for words in map(str.split, lines) if len(words) > 1}


def checksums():
    with open("Cargo.lock", "rb") as file:
        lock = tomllib.load(file)
    return {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}


def ref(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def license_of(package):
    # The old way to write "or".
    return re.sub(r"\s*/\s*", " OR ", package["license"] or "") or "see its files"


def sbom(names, target, crates):
    sums = checksums()
    components, dependencies = [], []
    for package, needs in crates:
        component = {
            "type": "library",
            "bom-ref": ref(package),
            "name": package["name"],
            "version": package["version"],
            "purl": ref(package),
            "licenses": [{"expression": license_of(package)}],
        }
        checksum = sums.get((package["name"], package["version"]))
        if checksum:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["repository"]:
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        if package["name"] in names:
            component["type"] = "application"
        components.append(component)
        dependencies.append({"ref": ref(package), "dependsOn": sorted(needs)})
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "application", "bom-ref": "package", "name": names[0], "version": next(p["version"] for p, _ in crates if p["name"] == names[0])},
            "properties": [{"name": "target", "value": target}],
        },
        "components": components,
        "dependencies": [{"ref": "package", "dependsOn": sorted(ref(p) for p, _ in crates if p["name"] in names)}, *dependencies],
    }
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}"
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def licenses(crates):
    """The list of crates with their licences, then each text once, with the crates that it is of."""
    lines = [f"{p['name']} {p['version']}: {license_of(p)}" for p, _ in crates]
    texts = {}
    for package, _ in crates:
        folder = os.path.dirname(package["manifest_path"])
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*"))):
            if re.match(r"(?i)(licen[cs]e|copying|copyright|notice|unlicense)", os.path.basename(path)) and os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    texts.setdefault(file.read().strip(), []).append(f"{package['name']} {package['version']}")
    parts = ["Crates in this package and their licences.\n", *lines]
    for text, of in texts.items():
        parts += ["", "=" * 80, ", ".join(of), "-" * 80, text]
    return "\n".join(parts) + "\n"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("packages", nargs="+")
    for name in ["--target", "--sbom", "--licenses"]:
        arguments.add_argument(name, required=True)
    given = arguments.parse_args()
    found = linked(metadata(given.target), given.packages)
    taken = built(given.packages, given.target)
    found = {own: (package, needs) for own, (package, needs) in found.items() if (package["name"], package["version"]) in taken}
    by_id = {own: ref(package) for own, (package, _) in found.items()}
    crates = [(package, [by_id[n] for n in needs if n in by_id]) for package, needs in found.values()]
    crates.sort(key=lambda c: (c[0]["name"], c[0]["version"]))
    with open(given.sbom, "w", encoding="utf-8") as file:
        file.write(sbom(given.packages, given.target, crates))
    with open(given.licenses, "w", encoding="utf-8") as file:
        file.write(licenses(crates))


main()
