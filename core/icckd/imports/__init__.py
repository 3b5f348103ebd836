"""Results from elsewhere: runs that icckd did not start become studies of observed trials.

    a file  ->  a reader (`tables`, `trackers`)  ->  icckd.results.run_table  ->  runs
            ->  icckd.study.observed  ->  a study  ->  `journals`

`load` carries that out. Files are untrusted: sizes are bounded, nothing in them is executed, names
are made harmless.
"""
