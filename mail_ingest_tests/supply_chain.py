"""`python -m mail_ingest_tests.supply_chain audit|sbom`: what the product is made of, and what is known of it.

audit: pip-audit asks the advisory database about every pin of constraints.txt (said to be NOT REACHED where there is no
network; a vulnerability ends the command with 1); the rest needs no network: what is installed is what is pinned, fits
together, and is licensed as `LICENSES` allows. sbom: a CycloneDX document of the environment, `sbom.json`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Licences under which a package may be used here, by words of its metadata. Weak copyleft is for whole files of others.
LICENSES = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|PSF-2\.0|Zlib|Unlicense|CC0|HPND|CNRI|Artistic|"
    r"MPL|Mozilla Public License|LGPL|Lesser General Public License|PostgreSQL)\b",
    re.IGNORECASE,
)
#: What the metadata do not say, as the package's own repository says it.
TOLD_ELSEWHERE = {"atheris": "Apache-2.0"}
#: What pip brings along, and the product itself.
_NOT_PINNED = {"pip", "setuptools", "wheel", "mail-ingest"}
_NO_NETWORK = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|NameResolution|Max retries|HTTPError|ProxyError|SSLError"
)


def name_of(text: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", text).lower()


def pins(text: str) -> dict[str, str]:
    """Names and versions of constraints."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {name_of(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def installed() -> dict[str, Distribution]:
    return {name_of(each.metadata["Name"]): each for each in distributions() if each.metadata["Name"]}


def differences(pinned: dict[str, str], found: dict[str, Distribution]) -> list[str]:
    """What is installed and not pinned so. Pins of what this platform does not need are none."""
    told = []
    for name, each in sorted(found.items()):
        if name in _NOT_PINNED:
            continue
        if name not in pinned:
            told.append(f"{name} {each.version} is installed, and constraints.txt does not name it")
        elif each.version != pinned[name]:
            told.append(f"{name} {each.version} is installed, and constraints.txt names {pinned[name]}")
    return told


def license_of(each: Distribution) -> str:
    """What a package says of its licence: the expression, or classifiers, or the first line of a text."""
    expression = each.metadata.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [
        text.rpartition("::")[2].strip()
        for text in each.metadata.get_all("Classifier") or []
        if text.startswith("License ::")
    ]
    text = str(each.metadata.get("License") or "").strip().splitlines()
    return "; ".join(classifiers) or (text[0] if text else "") or TOLD_ELSEWHERE.get(name_of(each.metadata["Name"]), "")


def strange_licenses(found: dict[str, Distribution]) -> list[str]:
    return [
        f"{name} is licensed as {license_of(each) or 'nothing that it says'}, which is not allowed"
        for name, each in sorted(found.items())
        if name not in _NOT_PINNED and not LICENSES.search(license_of(each))
    ]


def audit() -> int:
    """Prints what is wrong; 1 if anything is."""
    found, pinned = installed(), pins((ROOT / "constraints.txt").read_text())
    wrong = differences(pinned, found) + strange_licenses(found)
    fits = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    wrong += fits.stdout.splitlines() if fits.returncode else []
    asked = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt", "--no-deps", "--disable-pip",
         "--progress-spinner", "off", "--timeout", "10", "--format", "json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told, vulnerable = advisories(asked.stdout)
    print(told)
    wrong += vulnerable
    for line in wrong:
        print(line)
    print(f"{len(found)} packages: {len(wrong)} findings on pins, licences and what fits together")
    return 1 if wrong else 0


def advisories(answer: str) -> tuple[str, list[str]]:
    """What pip-audit learnt, in a sentence, and the vulnerabilities. Pins that it could not ask about are not clean: it skips
    them, and calls what is left clean even where that is nothing."""
    try:
        asked = json.loads(answer)["dependencies"]
    except (ValueError, LookupError, TypeError):
        asked = []
    known = [each for each in asked if "skip_reason" not in each]
    found = []
    for each in known:
        for vulnerability in each["vulns"]:
            mended = ", ".join(vulnerability["fix_versions"]) or "no version"
            found.append(f"{each['name']} {each['version']}: {vulnerability['id']}, mended in {mended}")
    if not known:
        return "pip-audit: NOT REACHED: no advisory database answered, and nothing was learnt of vulnerabilities", []
    return f"pip-audit: asked about {len(known)} of {len(asked)} pins, {len(found)} vulnerabilities", found


def sbom(path: Path) -> int:
    """Writes the document, and checks it against the schema of CycloneDX, which the library brings along."""
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from cyclonedx.validation import make_schemabased_validator

    made = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--spec-version", "1.6",
         "--pyproject", str(ROOT / "pyproject.toml"), sys.executable],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        print(made.stderr[-2_000:])
        return 1
    text = json.dumps(without_places(json.loads(made.stdout)), indent=1, sort_keys=True) + "\n"
    errors = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6).validate_str(text)
    if errors:
        print(f"the document does not follow the schema: {errors}")
        return 1
    path.write_text(text)
    print(f"{path.name}: {len(json.loads(text)['components'])} components, follows CycloneDX 1.6")
    return 0


def without_places(document: dict[str, object]) -> dict[str, object]:
    """The document without references that are places on this machine."""

    def keep(value: object) -> object:
        if isinstance(value, dict):
            return {name: keep(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [
                keep(inner) for inner in value if not (isinstance(inner, dict) and "file:" in str(inner.get("url", "")))
            ]
        return value

    kept = keep(document)
    assert isinstance(kept, dict)
    return kept


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mail_ingest_tests.supply_chain", description=__doc__)
    parser.add_argument("what", choices=["audit", "sbom"])
    options = parser.parse_args(arguments)
    return audit() if options.what == "audit" else sbom(ROOT / "sbom.json")


if __name__ == "__main__":
    raise SystemExit(main())
