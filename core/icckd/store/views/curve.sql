-- Series of trials of latest revisions over epochs, from the attempt that stands for each stage,
-- running ones included; students of one teacher averaged. Values that are not finite are left out.
-- Grain: (study, arm, seed, metric, epoch).
create or replace view curve as
select
    study.study, study.revision, trial_stage.arm, trial_stage.seed,
    metric.metric, metric.epoch,            -- counted from 1
    list_avg(list_sort(list(metric.value))) as value   -- unit: metric_info.unit
from study
inner join trial_stage using (session)
inner join stage_now using (stage)
inner join metric using (attempt)
where study.is_latest and isfinite(metric.value)
group by all;
