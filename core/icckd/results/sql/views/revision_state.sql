-- Revisions of studies, and which one reports and the other views show. What a session planned is a
-- revision by the study's text and the digests of its stages: a plan with other stages is apart even
-- when the text is the same, and its name ends in a number then. The newest session that planned a
-- revision stands for it.
-- Grain: (study, revision).
create or replace view revision_state as
with plan as (
    select
        session.study, session.revision as text, plan.stages, session.session, plan.planned,
        (session.ordinal, session.started, session.session) as age
    from study_revision as plan
    inner join session using (session)
),
variant as (
    select
        study, text, stages, max(age) as newest, list(session order by age) as sessions,
        row_number() over (partition by study, text order by min(age)) as number
    from plan
    group by study, text, stages
),
standing as (
    select
        variant.study,
        variant.text || case variant.number when 1 then '' else '.' || variant.number end
            as revision,
        plan.session, variant.sessions, plan.planned,
        row_number() over (partition by variant.study order by variant.newest desc) as position
    from variant
    inner join plan on plan.study = variant.study and plan.age = variant.newest
),
diverged as (
    select distinct attempt
    from recorded
    where metric like '%.nonfinite_steps' and value > 0
),
of_trial as (
    select
        standing.session, trial_stage.arm, trial_stage.seed,
        bool_and(stage_now.state = 'complete') as is_complete,
        bool_or(stage_now.state = 'failed' and diverged.attempt is not null) as is_diverged
    from standing
    inner join trial_stage using (session)
    inner join stage_now using (stage)
    left join diverged on diverged.attempt = stage_now.attempt
    group by all
),
counted as (
    select
        session, count(*) as trials, count(*) filter (where is_complete) as complete,
        bool_and(is_complete or is_diverged) and bool_or(is_complete) as is_complete
    from of_trial
    group by session
)
select
    standing.study, standing.revision, standing.session, standing.sessions, standing.planned,
    standing.position,
    coalesce(counted.trials, 0) as trials, coalesce(counted.complete, 0) as complete,
    coalesce(counted.is_complete, false) as is_complete,
    row_number() over (
        partition by standing.study
        order by coalesce(counted.is_complete, false) desc, standing.position
    ) = 1 as is_shown
from standing
left join counted using (session);
