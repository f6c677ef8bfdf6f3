"""What the Python environment says about its packages: names, licences, sizes on disk, requirements. Reads, never writes.

Called by the audit steps of `dependency_audit`, each for its own share of the packages.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, PackageMetadata, PackageNotFoundError, distribution, distributions
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# A licence field longer than this holds the whole text instead of the name.
LONGEST_LICENCE_NAME = 80
_CLASSIFIER = "License :: "
# How a licence text begins, for packages that ship the text and not the name.
_OPENINGS = (
    (re.compile(r"apache license,?\s+version 2\.0", re.I), "Apache-2.0"),
    (re.compile(r"mozilla public license,? version 2\.0", re.I), "MPL-2.0"),
    (re.compile(r"gnu affero general public license", re.I), "AGPL"),
    (re.compile(r"gnu lesser general public license", re.I), "LGPL"),
    (re.compile(r"gnu general public license", re.I), "GPL"),
    (re.compile(r"permission is hereby granted, free of charge", re.I), "MIT"),
    (re.compile(r"redistribution and use in source and binary forms.*neither the name", re.I | re.S), "BSD-3-Clause"),
    (re.compile(r"redistribution and use in source and binary forms", re.I), "BSD-2-Clause"),
)
# The names under which the same licences go, by their SPDX name.
_SPDX = {
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD",
    "bsd": "BSD",
    "new bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "isc license (iscl)": "ISC",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0",
}


def installed_names() -> list[str]:
    """The canonical names of all installed packages, sorted; a package found twice on the path counts once."""
    return sorted({canonicalize_name(name) for found in distributions() if (name := _name(found))})


def shares(names: Iterable[str], count: int) -> list[list[str]]:
    """The names dealt into `count` lists that differ by one at most. The same names always fall the same way."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return [ordered[start::count] for start in range(count)]


def inspect_package(name: str) -> dict[str, Any] | None:
    """Everything the audit wants to know of one package; None when it has been removed meanwhile."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    files, size = _measure(found)
    licence, source = _licence(found)
    return {
        "name": name,
        "version": found.version,
        "summary": _field(found.metadata, "Summary"),
        "licence": licence,
        "licence_source": source,
        "files": files,
        "bytes": size,
        "requires": _requirements(found),
    }


def _name(found: Distribution) -> str | None:
    # A half-removed package leaves a folder without metadata, which has no name; newer Pythons say so by an error.
    try:
        metadata: PackageMetadata | None = found.metadata
    except FileNotFoundError:
        return None
    return _field(metadata, "Name") if metadata is not None else None


def _field(metadata: PackageMetadata, name: str) -> str:
    return metadata[name].strip() if name in metadata else ""


def _measure(found: Distribution) -> tuple[int, int]:
    """How many files the package brought along, and their bytes together, as they are on disk now."""
    paths = {found.locate_file(file) for file in found.files or ()}
    sizes = [size for path in paths if (size := _size(str(path))) is not None]
    return len(sizes), sum(sizes)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _licence(found: Distribution) -> tuple[str | None, str]:
    """The licence's name and where it was found: expression, field, classifier, file, or nowhere (None)."""
    metadata = found.metadata
    expression = _field(metadata, "License-Expression")
    if expression:
        return expression, "expression"
    field = _named_licence(_field(metadata, "License"))
    if field:
        return field, "field"
    classifiers = _from_classifiers(metadata.get_all("Classifier") or [])
    if classifiers:
        return classifiers, "classifier"
    return _from_text(_field(metadata, "License"), _licence_files(found))


def _named_licence(text: str) -> str | None:
    text = " ".join(text.split())
    if not text or text.lower() in ("unknown", "dual license") or len(text) > LONGEST_LICENCE_NAME:
        return None
    return _SPDX.get(text.lower(), text)


def _from_classifiers(classifiers: Sequence[str]) -> str | None:
    names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith(_CLASSIFIER)]
    named = dict.fromkeys(_SPDX.get(name.lower(), name) for name in names if name != "OSI Approved")
    return " OR ".join(named) or None


def _licence_files(found: Distribution) -> list[str]:
    names = [file for file in found.files or () if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.I)]
    return [text for file in names[:3] if (text := _read(str(found.locate_file(file))))]


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(20_000)
    except OSError:
        return None


def _from_text(field: str, files: Sequence[str]) -> tuple[str | None, str]:
    for text, source in ((field, "field"), *((text, "file") for text in files)):
        name = next((name for opening, name in _OPENINGS if opening.search(text)), None)
        if name:
            return name, source
    return None, "nowhere"


def _requirements(found: Distribution) -> list[str]:
    """The packages this one needs here: extras not asked for and other platforms' needs are left out."""
    needed = (requirement for line in found.requires or () if (requirement := _parsed(line)))
    return sorted({canonicalize_name(one.name) for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})})


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None
