"""The provenance of a report, as a JSON file beside it.

Study as planned, digests of the stages behind every number with that of the source that made them,
sessions with the state of their code and of icckd's, machines and versions, fingerprints of the
data. Environment variables are not in it: stages record
versions and device names only, and a patch is kept without what looks like a secret.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from icckd import __version__
from icckd.journal.folder import CODE
from icckd.report.files import write_whole
from icckd.results.query import Results
from icckd.results.studies import Provenance, StageProvenance
from icckd.results.types import StudyInfo
from icckd.results.values import strict
from icckd.study.source import package_digest

_SOURCE = ("source", "changed_source", "accepted_source")
"""What an attempt's environment says of icckd's source, which differs from stage to stage."""


def manifest_path(output: Path) -> Path:
    """Return where the manifest of an output goes: `x.tex` has `x.tex.provenance.json`."""
    return output.with_name(f"{output.name}.provenance.json")


def write_manifest(results: Results, study: StudyInfo, outputs: list[Path]) -> Path:
    """Write the manifest of what was written, beside the first of it; return its path."""
    target = manifest_path(outputs[0])
    document = manifest(results, study)
    document["outputs"] = [
        {"name": _name(output), "sha256": hashlib.sha256(output.read_bytes()).hexdigest()}
        for output in outputs
    ]
    write_whole(target, json.dumps(strict(document), indent=2, ensure_ascii=False) + "\n")
    return target


def _name(output: Path) -> str:
    """Return the name of a file as text, with escapes for bytes that are not UTF-8."""
    return os.fsencode(output.name).decode("utf-8", "backslashreplace")


def manifest(results: Results, study: StudyInfo) -> dict[str, Any]:
    """Return the manifest; the same results give the same bytes."""
    provenance = results.provenance(study)
    return {
        "icckd": __version__,
        "icckd_source": package_digest(),
        "study": study.name,
        "revision": study.revision,
        "seeds": list(study.seeds),
        "added_seeds": list(study.added),
        "spec": study.resolved,
        "data_fingerprints": sorted({stage.fingerprint for stage in provenance.stages}),
        "machines": _machines(provenance),
        "sessions": [
            {
                "session": row.session,
                "started": row.started,
                "arguments": list(row.arguments),
                "icckd": row.version,
                "host": row.host,
                "code": _code(results, row.session),
            }
            for row in provenance.sessions
        ],
        "stages": [_stage(row) for row in provenance.stages],
    }


def _machines(provenance: Provenance) -> list[dict[str, Any]]:
    """Return each combination of host, versions, devices and numerics once."""
    seen: dict[str, dict[str, Any]] = {}
    for row in provenance.stages:
        machine = {
            "host": row.host,
            "environment": {k: v for k, v in row.environment.items() if k not in _SOURCE},
            "numerics": row.numerics,
            "code_epoch": row.code_epoch,
        }
        seen.setdefault(json.dumps(machine, sort_keys=True), machine)
    return list(seen.values())


def _code(results: Results, session: str) -> Any:
    try:
        return json.loads((results.folder.sessions / session / CODE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _stage(row: StageProvenance) -> dict[str, Any]:
    return {
        "digest": row.stage,
        "kind": row.kind,
        "arms": list(row.arms),
        "seed": row.seed,
        "replicate": row.replicate,
        **{name: row.environment[name] for name in _SOURCE if name in row.environment},
        "attempt": row.attempt,
        "session": row.session,
    }
