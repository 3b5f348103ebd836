-- How each stage stands, and the attempt that stands for it: the newest complete one, unless a
-- later one runs or failed; without a complete one, the newest. A stage is complete by an attempt
-- only; else the last word of the newest session that planned it counts, and it is pending when
-- that session has not spoken of it.
-- Grain: stage.
create or replace view stage_state as
with known as materialized (
    from attempt_state
    where state <> 'superseded'             -- another attempt of the stage counts
),
newest_plan as (
    select distinct on (stage.stage)
        stage.stage, stage.session, stage.kind, stage.shape, stage.replicate, stage.epochs
    from stage
    inner join session using (session)
    order by stage.stage, session.ordinal desc, session.started desc, session.session desc
),
word as (
    select distinct on (session, stage) session, stage, state, reason, attempt
    from stage_event
    order by session, stage, sequence desc
),
placed as (
    select stage, state, struct_pack(ordinal := ordinal, started := started, attempt := attempt) as place
    from known
),
tried as (
    select
        stage, count(*) as attempts,
        max(place) as newest,
        max(place) filter (where state = 'complete') as complete,
        max(place) filter (where state in ('running', 'failed')) as other
    from placed
    group by stage
),
chosen as (
    select
        stage, attempts,
        complete is not null and (other is null or other < complete) as is_complete,
        complete is not null and other > complete as is_superseded,
        case
            when complete is null then newest
            when other > complete then other
            else complete
        end as standing
    from tried
),
judged as (
    select
        plan.stage, plan.kind, plan.shape, plan.replicate, plan.epochs,
        coalesce(chosen.attempts, 0) as attempts,
        shown.attempt, shown.epoch, shown.seconds, shown.started,
        case
            when chosen.is_complete then 'complete'
            when chosen.is_superseded then shown.state
            when word.state = 'running' and live_session.session is null then 'interrupted'
            when word.state = 'running' and spoken.state in ('failed', 'cancelled')
                then spoken.state
            when word.state is null or word.state = 'complete' then 'pending'
            else word.state
        end as verdict,
        coalesce(word.reason, '') as word_reason,
        coalesce(shown.reason, '') as attempt_reason,
        coalesce(stalled_attempt.reason, nullif(live_session.stalled, ''), '') as stalled
    from newest_plan as plan
    left join chosen using (stage)
    left join known as shown on shown.attempt = chosen.standing.attempt
    left join word on word.session = plan.session and word.stage = plan.stage
    left join known as spoken on spoken.attempt = word.attempt
    left join live_session on live_session.session = plan.session
    left join stalled_attempt on stalled_attempt.attempt = shown.attempt
)
select
    stage, kind, shape, replicate, attempts, attempt, started,
    coalesce(epoch, 0) as epoch, epochs,    -- epochs done by that attempt, of those planned
    coalesce(seconds, 0) as seconds,        -- of that attempt
    case verdict when 'interrupted' then 'cancelled' else verdict end as state,
    case
        when verdict = 'complete' then ''
        when verdict = 'running' then stalled
        when verdict = 'interrupted' then 'interrupted'
        when verdict = 'failed' and attempt_reason <> '' and word_reason = '' then attempt_reason
        else word_reason
    end as reason
from judged;
