"""A passport as a list of parts in SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/), as JSON."""

from __future__ import annotations

from datetime import UTC
from urllib.parse import quote

from .model import Passport

_NOBODY_SAYS = "NOASSERTION"


def write_spdx(passport: Passport, version: str) -> dict[str, object]:
    """The document.

    Args:
        passport: What is described.
        version: Of gpuspawner, which made the list.
    """
    root = "SPDXRef-Image"
    parts = [
        *(
            _part(f"Python-{n}", name, found, "pypi")
            for n, (name, found) in enumerate(passport.packages.items())
        ),
        *(
            _part(f"Debian-{n}", name, found, "deb/debian")
            for n, (name, found) in enumerate(passport.debian_packages.items())
        ),
        *(
            _part(f"Other-{n}", one.name, one.version, one.kind, one.hash)
            for n, one in enumerate(passport.other_packages)
        ),
    ]
    image = {
        "SPDXID": root,
        "name": passport.image,
        "versionInfo": passport.digest,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": passport.sha256}],
        **_UNSAID,
    }
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": passport.image,
        "documentNamespace": f"https://spdx.org/spdxdocs/gpuspawner-{passport.sha256}",
        "creationInfo": {
            # Of the image, so that the same image has the same document at any time.
            "created": f"{passport.built.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "creators": [f"Tool: gpuspawner-{version}"],
        },
        "packages": [image, *parts],
        "relationships": [
            _relate("SPDXRef-DOCUMENT", "DESCRIBES", root),
            *(_relate(root, "CONTAINS", str(part["SPDXID"])) for part in parts),
        ],
    }


_UNSAID: dict[str, object] = {
    "downloadLocation": _NOBODY_SAYS,
    "filesAnalyzed": False,
    "licenseConcluded": _NOBODY_SAYS,
    "licenseDeclared": _NOBODY_SAYS,
    "copyrightText": _NOBODY_SAYS,
}
"""What a list of installed packages does not tell."""


def _part(identity: str, name: str, version: str, kind: str, hashed: str | None = None) -> dict[str, object]:
    # The name of a package of npm may have a scope before it: @coder/logger.
    locator = f"pkg:{kind}/{quote(name)}@{quote(version, safe='')}"
    algorithm, _, value = (hashed or "").partition(":")
    checksums = [{"algorithm": algorithm.upper(), "checksumValue": value}]
    return {
        "SPDXID": f"SPDXRef-{identity}",
        "name": name,
        "versionInfo": version,
        **({"checksums": checksums} if hashed else {}),
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": locator,
            }
        ],
        **_UNSAID,
    }


def _relate(one: str, how: str, other: str) -> dict[str, object]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}
