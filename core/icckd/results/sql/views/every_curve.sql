-- Series of trials of all revisions over epochs, from the attempt that stands for each stage,
-- running ones included; students of one teacher averaged. Values that are not finite are left out.
-- Grain: (study, revision, arm, seed, metric, epoch).
create or replace view every_curve as
select
    need.study, need.revision, need.arm, need.seed,
    metric.metric, metric.epoch,            -- counted from 1
    list_avg(list_sort(list(metric.value))) as value   -- unit: metric_info.unit
from every_stage_of_trial as need
inner join metric using (attempt)
where isfinite(metric.value)
group by all;
