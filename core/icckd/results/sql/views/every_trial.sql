-- Trials of all revisions. The state is the first of these that any of its stages is in: failed,
-- running, blocked, cancelled, pending; else complete.
-- Grain: (study, revision, arm, seed).
create or replace view every_trial as
with of_stage as (
    select
        need.*, arm.role,
        case need.state
            when 'failed' then 6 when 'running' then 5 when 'blocked' then 4
            when 'cancelled' then 3 when 'pending' then 2 else 1
        end as rank
    from every_stage_of_trial as need
    inner join arm using (session, arm)
),
ranked as (
    select
        *,
        rank * 10000 - position as telling,
        case
            when rank >= 5 then rank * 10000 - position
            when attempt is not null then position
            else -1
        end as showing
    from of_stage
)
select
    study, revision, arm, arm_position, role, seed, is_baseline,
    arg_max(state, telling) as state,
    arg_max(reason, telling) as reason,
    case when max(showing) < 0 then '' else arg_max(kind, showing) end as stage_kind,
    case when max(showing) < 0 then 0 else arg_max(epoch, showing) end as epoch,
    arg_max(epochs, showing) as epochs,     -- of stage_kind
    count(*) as stages,
    count(*) filter (where state = 'complete') as stages_complete,
    sum(attempts)::bigint as attempts,
    sum(seconds) as seconds                 -- of the attempts that stand for its stages
from ranked
group by all;
