-- Outcomes of trials of all revisions: what complete stages recorded or what follows from their
-- series, the students of one teacher averaged (all of them, or there is no value). A trial with a
-- failed or blocked stage has no outcomes but the `nonfinite_steps` of the attempt that failed.
-- Targets never reached are infinite; what was recorded as NaN or infinite is no value.
-- Grain: (study, revision, arm, seed, metric).
create or replace view every_outcome as
with of_stage as (
    select
        need.study, need.revision, need.session, need.arm, need.seed, need.is_baseline,
        need.kind, need.attempt, need.state,
        case need.kind
            when 'teacher' then study.teacher_target
            when 'student' then study.student_target
        end as target,                          -- tasks have none
        count(*) over (
            partition by need.study, need.revision, need.arm, need.seed, need.kind
        ) as wanted,
        bool_or(need.state in ('failed', 'blocked')) over (
            partition by need.study, need.revision, need.arm, need.seed
        ) as is_lost
    from every_stage_of_trial as need
    inner join study using (study, revision)
),
reached as (
    select
        wanted.attempt, wanted.kind, wanted.target,
        min(accuracy.epoch) filter (where accuracy.value >= wanted.target) as epoch
    from (
        select distinct attempt, kind, target
        from of_stage
        where state = 'complete' and target is not null
    ) as wanted
    inner join metric as accuracy
        on accuracy.attempt = wanted.attempt and accuracy.metric = wanted.kind || '.val_top1'
    group by all
),
timed as (
    select reached.*, clock.value as seconds, packed.attempt is not null as is_packed
    from reached
    left join attempt as packed on packed.attempt = reached.attempt and packed.pack <> ''
    left join metric as clock
        on clock.attempt = reached.attempt and clock.epoch = reached.epoch
        and clock.metric = reached.kind || '.train_seconds'
),
stage_value as (
    select attempt, null as target, metric, value
    from recorded
    where isfinite(value)
    union all
    select attempt, target, kind || '.convergence', coalesce(epoch, 'infinity'::double)
    from timed
    union all
    select
        attempt, target, kind || '.convergence_seconds',
        case when epoch is null then 'infinity'::double else seconds end
    from timed
    where not is_packed                     -- a stage in a pack has no seconds of its own
)
select
    of_stage.study, of_stage.revision, of_stage.arm, of_stage.is_baseline, of_stage.seed,
    stage_value.metric,
    list_avg(list_sort(list(stage_value.value))) as value,   -- the same bits in any order of rows
    coalesce(any_value(metric_info.unit), any_value(declared_metric.unit), '') as unit
from of_stage
inner join stage_value
    on stage_value.attempt = of_stage.attempt
    and (stage_value.target is null or stage_value.target = of_stage.target)
left join metric_info using (metric)
left join declared_metric
    on declared_metric.session = of_stage.session and declared_metric.metric = stage_value.metric
where stage_value.value is not null
    and case
        when of_stage.is_lost
            then of_stage.state = 'failed' and stage_value.metric like '%.nonfinite_steps'
        else of_stage.state = 'complete'
    end
group by all
having any_value(of_stage.is_lost) or count(*) = any_value(of_stage.wanted);
