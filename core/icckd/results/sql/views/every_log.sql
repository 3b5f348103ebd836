-- Log lines of all revisions with the start and the end of each attempt, once for every trial
-- that needs the stage (`use_number` 1 is the first), and what their sessions said (arm '').
-- Grain: (study, revision, source, name, sequence, arm, seed).
create or replace view every_log as
with used as (
    select
        study, revision, arm, seed, stage, kind,
        row_number() over (
            partition by study, revision, stage order by arm_position, seed
        ) as use_number
    from every_stage_of_trial
),
attempted as (
    select attempt.stage, name, sequence, time, level, text
    from log_line
    inner join attempt on log_line.source = 'attempt' and attempt.attempt = log_line.name
    union all
    select stage, attempt, -1, started, 'info', 'started'
    from attempt
    union all
    select
        attempt.stage, attempt.attempt, 9223372036854775807, attempt_end.ended,
        case attempt_end.state when 'complete' then 'info' else 'warning' end,
        format('{} after {:.1f} s', attempt_end.state, attempt_end.seconds)
    from attempt_end
    inner join attempt using (attempt)
),
said as (
    select session, sequence, time, level, text, null as stage
    from (select name as session, sequence, time, level, text from log_line where source = 'session')
    union all
    select session, 0, started, 'info', 'session started on ' || host, null
    from session
    union all
    select session, 9223372036854775807, ended, 'info',
        'session ended with exit code ' || exit_code, null
    from session_end
    union all
    select session, sequence, time, 'info', 'request ' || kind || ': ' || answer, null
    from request
    union all
    select
        session, sequence, time, case state when 'failed' then 'error' else 'warning' end,
        state || ': ' || reason, stage
    from stage_event
    where reason <> ''
)
select
    used.study, used.revision, used.arm, used.seed, used.kind as stage_kind, used.use_number,
    attempted.time, attempted.level, attempted.text,   -- time: Unix seconds
    'attempt' as source, attempted.name, attempted.sequence
from attempted
inner join used using (stage)
union all
select
    study.study, study.revision, coalesce(used.arm, ''), used.seed, coalesce(used.kind, ''),
    coalesce(used.use_number, 1), said.time, said.level, said.text,
    'session', said.session, said.sequence
from said
inner join (select study, revision, unnest(sessions) as session from revision) as study
    using (session)
left join used
    on used.stage = said.stage and used.study = study.study and used.revision = study.revision;
