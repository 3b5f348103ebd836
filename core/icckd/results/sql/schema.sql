-- The tables: what the journals say, row by row, and nothing else.
-- Rows are only ever added, and named by what the journals name them by (session, attempt, digest),
-- so two rebuilds hold the same rows whatever the order in which journals were read.
-- Times of day are Unix seconds. JSON columns hold JSON text.

-- One row a session of `icckd run`.
create table session (
    session varchar not null,
    study varchar not null,
    revision varchar not null,
    started double not null,
    host varchar not null,
    boot varchar not null,
    pid bigint not null,
    version varchar not null,
    arguments varchar[] not null,
    ordinal bigint not null,                -- counts the sessions of the folder; orders them
    accepted_source varchar not null        -- JSON: changed source taken to give equal numbers
);

-- One row a session that ended in good order.
create table session_end (
    session varchar not null,
    ended double not null,
    exit_code bigint not null
);

-- One row a session that made its plan: the resolved study.
create table study_revision (
    session varchar not null,
    planned double not null,
    question varchar not null,
    baseline varchar not null,
    primary_metric varchar not null,
    outcomes varchar[] not null,
    family varchar[] not null,
    smallest_effect double,                 -- in the primary metric's unit; null: not declared
    teacher_target double not null,         -- validation top-1 that counts as converged, percent
    student_target double not null,         -- percent
    resolved varchar not null,              -- the whole study, JSON
    stages varchar not null,                -- digest of the digests of all its stages
    rule varchar not null,                  -- how verdicts are reached; '': before rules were told
    plugins varchar not null                -- what was told of its plug-ins, JSON
);

-- One row a primary question of a session's plan: does an arm differ in a metric?
create table hypothesis (
    session varchar not null,
    position integer not null,
    arm varchar not null,
    metric varchar not null,
    smallest_effect double                  -- in the metric's unit; null: not declared
);

-- One row an arm of a session's plan; position 0 is the baseline.
create table arm (
    session varchar not null,
    position integer not null,
    arm varchar not null,
    role varchar not null,
    title varchar not null,
    action varchar not null,
    control_for varchar,
    metrics varchar[] not null,
    changes varchar not null,               -- JSON: path, before, after of each setting that differs
    levels varchar not null                 -- JSON: label of its level by factor
);

-- One row a trial of a session's plan.
create table planned_trial (
    session varchar not null,
    position integer not null,
    arm varchar not null,
    seed bigint not null
);

-- One row a stage of a trial of a session's plan; inputs first.
create table trial_stage (
    session varchar not null,
    arm varchar not null,
    seed bigint not null,
    position integer not null,
    stage varchar not null
);

-- One row a stage of a session's plan; `stage` is its digest.
create table stage (
    session varchar not null,
    position integer not null,
    stage varchar not null,
    kind varchar not null,
    shape varchar not null,
    seed bigint not null,
    replicate bigint not null,
    epochs bigint not null,
    inputs varchar not null                 -- JSON: digest by kind
);

-- One row a word of a session on a stage.
create table stage_event (
    session varchar not null,
    sequence bigint not null,
    time double not null,
    stage varchar not null,
    state varchar not null,
    attempt varchar,
    reason varchar not null,
    cause varchar                           -- why an attempt ended without a result
);

-- One row a request that a session answered.
create table request (
    session varchar not null,
    sequence bigint not null,
    time double not null,
    request varchar not null,
    kind varchar not null,
    answer varchar not null
);

-- One row an attempt of a stage.
create table attempt (
    attempt varchar not null,
    session varchar not null,
    stage varchar not null,
    kind varchar not null,
    shape varchar not null,
    seed bigint not null,
    replicate bigint not null,
    epochs bigint not null,
    started double not null,
    settings varchar not null,              -- JSON
    inputs varchar not null,                -- JSON: digest by kind
    fingerprint varchar not null,
    numerics varchar not null,              -- JSON
    code_epoch bigint not null,
    host varchar not null,
    boot varchar not null,
    pid bigint not null,
    environment varchar not null,           -- JSON
    ordinal bigint not null,                -- grows with every order; orders attempts
    files varchar not null,                 -- JSON: of a task, digest by file name
    pack varchar not null,                  -- of attempts that were trained together; '': by itself
    members bigint not null                 -- how many these were
);

-- One row an attempt that went on from a checkpoint; its series hold the epochs before, too.
create table resumption (
    attempt varchar not null,
    from_attempt varchar not null,          -- made the checkpoint
    epoch bigint not null,                  -- epochs done before
    seconds double not null                 -- on the clock, of all attempts before
);

-- One row an attempt that ended in good order.
create table attempt_end (
    attempt varchar not null,
    ended double not null,
    state varchar not null,
    seconds double not null,
    failure_type varchar,
    failure_message varchar,
    failure_cause varchar,
    failure_hint varchar,
    failure_step bigint,
    failure_term varchar,
    failure_traceback varchar
);

-- One row a series value at the end of an epoch.
create table metric (
    attempt varchar not null,
    epoch bigint not null,
    metric varchar not null,
    value double not null                   -- may be NaN or infinite
);

-- One row a value of the stage as a whole, as its attempt recorded it.
create table recorded (
    attempt varchar not null,
    metric varchar not null,
    value double not null                   -- may be NaN or infinite
);

-- One row a model that was tested: which test images it was right about.
create table test_right (
    attempt varchar not null,
    images bigint not null,
    bits varchar not null                   -- base64, a bit an image, the first one highest
);

-- One row some thousand items, such as test questions, of an attempt and a metric: in columns, the
-- view every_item has a row each.
create table item_scores (
    attempt varchar not null,
    metric varchar not null,
    items varchar[] not null,               -- what names each
    item_groups varchar[] not null,         -- the group of each; empty where they have none
    scores double[] not null
);

-- One row an artifact that an attempt published.
create table artifact (
    attempt varchar not null,
    published double not null,
    files varchar not null,                 -- JSON: SHA-256 by file name
    bytes bigint not null
);

-- One row a log line; `source` tells whether `name` is an attempt or a session.
create table log_line (
    source varchar not null,
    name varchar not null,
    sequence bigint not null,
    time double not null,
    level varchar not null,
    text varchar not null
);

-- One row a journal: how far it was read, and what was wrong with it.
create table journal (
    source varchar not null,
    name varchar not null,
    byte_offset bigint not null,            -- bytes read; the next read starts here
    next_sequence bigint not null,
    bad_lines bigint not null,
    bad_bytes bigint not null,
    newest double not null,                 -- time of its newest line
    epoch bigint not null,                  -- the last one that it tells of; 0: none
    closed boolean not null                 -- its last line was read; nothing follows
);

-- One row a planned stage: what the view stage_state said when rows were last taken in. The other
-- views read this table, for it is asked often.
create table stage_now (
    stage varchar not null,
    kind varchar not null,
    shape varchar not null,
    replicate bigint not null,
    attempts bigint not null,
    attempt varchar,
    started double,
    epoch bigint not null,
    epochs bigint not null,
    seconds double not null,
    state varchar not null,
    reason varchar not null
);

-- One row a revision: what the view revision_state said when rows were last taken in, as for
-- stage_now.
create table revision (
    study varchar not null,
    revision varchar not null,
    session varchar not null,               -- the newest that planned it
    sessions varchar[] not null,            -- all that planned it
    planned double not null,                -- by the newest of them, Unix seconds
    position bigint not null,               -- 1: the newest of its study
    trials bigint not null,
    complete bigint not null,               -- trials that are complete
    is_complete boolean not null,           -- all trials are complete, or diverged
    is_shown boolean not null               -- reports and views show it: the newest complete one,
                                            -- or the newest where none is complete
);

-- The session that runs now; where storage is shared, also those of other machines. What was true
-- of processes when last looked, no fact of a journal.
create table live_session (
    session varchar not null,
    paused boolean not null,                -- waits for a request to go on
    stalled varchar not null                -- why it cannot go on just now, or ''
);

-- One row an attempt of these sessions that cannot go on just now.
create table stalled_attempt (
    attempt varchar not null,
    reason varchar not null
);

-- One row a metric of the catalogue (icckd.study.metrics), no fact of a journal.
create table metric_info (
    metric varchar not null,
    position integer not null,
    unit varchar not null,
    direction varchar not null,
    about varchar not null
);

-- One row a metric that tasks of a session's plan declare.
create table declared_metric (
    session varchar not null,
    metric varchar not null,
    unit varchar not null,
    direction varchar not null,
    about varchar not null
);

-- One row: which code made these tables and views, and what stage_now and revision speak of.
create table made_by (
    tables varchar not null,
    views varchar not null,
    said bigint not null                    -- bytes of all journals that they were made from; -1:
                                            -- not yet, or by other views. Kept in the file alone
);
