"""Writes what an installation consists of as CycloneDX 1.6 JSON: every package of requirements.lock and every file that is vendored; `make sbom` calls it.

The same tree gives the same document, byte for byte. Licences, and who needs whom, are as the installed packages say.
"""

import hashlib
import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

from engine.examples.compliance.packages import inspect_package

ROOT = Path(__file__).resolve().parents[1]
VENDORED = ROOT / "webapp" / "static" / "vendor" / "manifest.json"
_LOCKED = re.compile(r"^([a-z0-9-]+)==([^\s;\\]+)", re.MULTILINE)


def document() -> dict[str, Any]:
    """The bill of materials."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = dict(_LOCKED.findall((ROOT / "requirements.lock").read_text()))
    known = {name: found for name in locked if (found := inspect_package(name))}
    itself = {
        "type": "application",
        "bom-ref": project["name"],
        "name": project["name"],
        "version": project["version"],
        "description": project["description"],
        "licenses": [{"license": {"id": project["license"]}}],
        "purl": f"pkg:pypi/{project['name']}@{project['version']}",
    }
    vendored = json.loads(VENDORED.read_text())["packages"]
    body = {
        "metadata": {"component": itself},
        "components": [*(_package(name, version, known.get(name)) for name, version in locked.items()), *map(_vendored, vendored)],
        "dependencies": _needs(project, locked, known, vendored),
    }
    number = uuid.UUID(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32], version=4)
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{number}", "version": 1, **body}


def _package(name: str, version: str, found: dict[str, Any] | None) -> dict[str, Any]:
    reference = f"pkg:pypi/{name}@{version}"
    component = {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}
    if found and found["licence"]:
        is_spdx = found["licence_source"] == "expression"
        component["licenses"] = [{"expression": found["licence"]} if is_spdx else {"license": {"name": found["licence"]}}]
    return component


def _vendored(package: dict[str, Any]) -> dict[str, Any]:
    reference = _vendored_reference(package)
    files = [
        {"type": "file", "bom-ref": f"{reference}#{each['file']}", "name": each["file"], "hashes": [{"alg": "SHA-256", "content": each["sha256"]}]}
        for each in package["files"]
    ]
    return {
        "type": "library",
        "bom-ref": reference,
        "name": package["name"],
        "version": package["version"],
        "licenses": [{"license": {"name": package["licence"]}}],
        "purl": reference,
        "components": files,
    }


def _vendored_reference(package: dict[str, Any]) -> str:
    return f"pkg:npm/{package['name'].replace('@', '%40')}@{package['version']}"


def _needs(project: dict[str, Any], locked: dict[str, str], known: dict[str, Any], vendored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    asked = {re.split(r"[^\w-]", line)[0].lower().replace("_", "-") for line in project["dependencies"]}
    own = [*_references(asked, locked), *map(_vendored_reference, vendored)]
    others = [{"ref": f"pkg:pypi/{name}@{version}", "dependsOn": _references(known[name]["requires"] if name in known else [], locked)} for name, version in locked.items()]
    return [{"ref": project["name"], "dependsOn": own}, *others]


def _references(names: Any, locked: dict[str, str]) -> list[str]:
    return sorted(f"pkg:pypi/{name}@{locked[name]}" for name in names if name in locked)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document(), indent=2) + "\n")
    print(target)
