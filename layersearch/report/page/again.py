"""What made the study: description and versions, to run it again."""

import json
from collections.abc import Mapping
from typing import Any

from layersearch.report.page.evidence import Evidence
from layersearch.report.page.section import Listing, Section, Table

_LONGEST = 100_000  # characters of a description


def again_section(evidence: Evidence) -> Section:
    """The description as a file to search with, versions, and what scores depend on."""
    versions = dict(evidence.search.get("versions") or {})
    wrote = (evidence.result or {}).get("layersearch")
    if wrote and "layersearch" not in versions:
        versions["layersearch"] = wrote
    rows = [(str(name), str(version)) for name, version in versions.items()]
    tables = [Table(caption="Versions", head=("", ""), rows=rows, text=frozenset({0, 1}))]
    listings, lead = [], list[str]()
    if evidence.config:
        lead.append(
            "Save the description below as search.yaml (JSON is YAML), then: "
            "layersearch search search.yaml. Paths in it are those of the machine that searched; "
            "passwords are left out."
        )
        listings.append(
            Listing(caption="The description, every field filled in", text=_json(evidence.config))
        )
    else:
        lead.append("The study does not hold the description of its search.")
    if evidence.made_with:
        listings.append(
            Listing(
                caption="What its scores depend on (the study's fingerprint)",
                text=_json(evidence.made_with),
            )
        )
    return Section(
        key="again",
        title="To run it again",
        lead=lead,
        tables=tables if rows else [],
        listings=listings,
    )


def _json(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "\n… (cut)"
