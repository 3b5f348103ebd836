"""JSON Schema of the study file, for editors.

`python -m icckd.spec.schema > studies/study.schema.json` writes the committed one anew.
"""

import json

from icckd.spec.study import Study


def study_schema() -> str:
    """Return the schema as text, the way it is committed in `studies/study.schema.json`."""
    schema = Study.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "icckd study"
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    print(study_schema(), end="")
