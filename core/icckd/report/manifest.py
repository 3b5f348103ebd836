"""The provenance of a report, as a JSON file beside it.

Study as planned, digests of the stages behind every number, sessions with the state of their code,
machines and versions, fingerprints of the data. Environment variables are not in it: stages record
versions and device names only, and a patch is kept without what looks like a secret.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from icckd import __version__
from icckd.journal.folder import CODE
from icckd.results.provenance import Provenance, StageRow
from icckd.results.read import Results
from icckd.results.types import StudyInfo


def manifest_path(output: Path) -> Path:
    """Return where the manifest of an output goes: `x.tex` has `x.tex.provenance.json`."""
    return output.with_name(f"{output.name}.provenance.json")


def write_manifest(results: Results, study: StudyInfo, outputs: list[Path]) -> Path:
    """Write the manifest of what was written, beside the first of it; return its path."""
    target = manifest_path(outputs[0])
    document = manifest(results, study)
    document["outputs"] = [
        {"name": output.name, "sha256": hashlib.sha256(output.read_bytes()).hexdigest()}
        for output in outputs
    ]
    target.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return target


def manifest(results: Results, study: StudyInfo) -> dict[str, Any]:
    """Return the manifest; the same results give the same bytes."""
    provenance = results.provenance(study)
    return {
        "icckd": __version__,
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
            "environment": row.environment,
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


def _stage(row: StageRow) -> dict[str, Any]:
    return {
        "digest": row.stage,
        "kind": row.kind,
        "arms": list(row.arms),
        "seed": row.seed,
        "replicate": row.replicate,
        "attempt": row.attempt,
        "session": row.session,
    }
