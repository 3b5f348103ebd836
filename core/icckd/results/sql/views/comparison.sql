-- Arms by metric: mean over seeds and mean paired difference from the baseline. `icckd report` adds
-- the intervals. Mean and spread are null where a seed never reached its target, the difference
-- where one of a pair did not.
-- Grain: (study, arm, metric).
create or replace view comparison as
with known as materialized (
    from outcome
)
select
    trial.study, trial.revision, trial.arm, trial.metric, trial.unit,
    count(*) as n,                          -- seeds
    count(*) filter (where isinf(trial.value)) as never,
    case when bool_and(isfinite(trial.value))
        then list_avg(list_sort(list(trial.value)))   -- the same bits in any order of rows
    end as mean,
    case when bool_and(isfinite(trial.value))
        then list_stddev_samp(list_sort(list(trial.value) filter (where isfinite(trial.value))))
    end as spread,                          -- standard deviation over seeds
    median(trial.value) as median,
    count(baseline.value) as pairs,
    case when bool_and(isfinite(trial.value) and isfinite(coalesce(baseline.value, 0)))
        then list_avg(list_sort(
            list(trial.value - baseline.value) filter (where baseline.value is not null)
        ))
    end as difference                       -- arm minus baseline
from known as trial
left join known as baseline
    on baseline.study = trial.study and baseline.seed = trial.seed
    and baseline.metric = trial.metric and baseline.is_baseline and not trial.is_baseline
group by trial.study, trial.revision, trial.arm, trial.metric, trial.unit;
