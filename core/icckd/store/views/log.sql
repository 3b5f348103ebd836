-- Log lines of latest revisions with the start and the end of each attempt, once for every trial
-- that needs the stage (`use_number` 1 is the first), and what their sessions said (arm '').
-- Grain: (source, name, sequence, arm, seed).
create or replace view log as
with used as (
    select
        study.study, study.revision, trial_stage.arm, trial_stage.seed, stage.stage, stage.kind,
        row_number() over (
            partition by study.study, stage.stage order by arm.position, trial_stage.seed
        ) as use_number
    from study
    inner join trial_stage using (session)
    inner join arm on arm.session = trial_stage.session and arm.arm = trial_stage.arm
    inner join stage on stage.session = trial_stage.session and stage.stage = trial_stage.stage
    where study.is_latest
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
inner join session using (session)
inner join study on study.study = session.study and study.revision = session.revision
left join used on used.stage = said.stage and used.study = session.study
where study.is_latest;
