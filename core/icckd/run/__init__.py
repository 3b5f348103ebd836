"""Running a study: a session, its schedule, its executors and their workers."""
