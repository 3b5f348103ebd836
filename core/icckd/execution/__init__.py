"""Where attempts run. Values are import strings, so that listing one imports none."""

EXECUTORS = {"local": "icckd.execution.local:LocalExecutor"}
