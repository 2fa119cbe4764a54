"""Every dependency has a licence that goes with ours (MIT or Apache-2.0), and every Cargo.lock is up to date.

With --list, prints them.

    python3 tests/licences.py [--list]
"""

import json
import re
import subprocess
import sys

# None of these asks more than to be named.
FREE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "ISC", "MIT", "MIT-0", "NCSA", "Unicode-3.0", "Unlicense", "Zlib",
}  # fmt: skip
# Mozilla's asks for the sources of what is changed of it: nothing is, and only what typesets the report has it in it.
UNCHANGED = {"option-ext": "MPL-2.0"}


def is_free(expression):
    """SPDX: one of the alternatives of every part must be free. The old slash means OR."""
    text = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ")
    words = re.sub(r"(\S+) WITH (\S+)", r"\1_WITH_\2", text).split()
    python = []
    for word in words:
        if word in ("(", ")"):
            python.append(word)
        elif word in ("OR", "AND"):
            python.append(word.lower())
        else:
            python.append(str(word.replace("_WITH_", " WITH ") in FREE))
    return eval(" ".join(python))  # nothing but True, False, and, or, parentheses


def main():
    found = {}
    for manifest in ("Cargo.toml", "examples/Cargo.toml", "fuzz/Cargo.toml"):
        command = ["cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", manifest]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"cargo metadata of {manifest}: {done.stderr}")
        for package in json.loads(done.stdout)["packages"]:
            if package["source"]:
                found[f"{package['name']} {package['version']}"] = package["license"] or "none"
    bad = {n: t for n, t in found.items() if not is_free(t) and UNCHANGED.get(n.split()[0]) != t}
    if "--list" in sys.argv:
        for name, text in sorted(found.items()):
            print(f"{name:40} {text}")
    if bad:
        sys.exit(f"licences that do not go with ours: {bad}")
    print(f"ok: the licences of {len(found)} dependencies go with ours")


main()
