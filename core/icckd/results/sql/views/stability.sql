-- How steadily trials of the revisions shown trained, teacher and student each; seeds that diverged are
-- here too.
-- Grain: (study, arm, seed, kind).
create or replace view stability as
select
    study, revision, arm, is_baseline, seed,
    split_part(metric, '.', 1) as kind,
    any_value(value) filter (where metric like '%.stability')
        as cross_entropy_noise,             -- nats, root mean square around the moving average
    any_value(value) filter (where metric like '%.grad_norm_max') as grad_norm_max,
    any_value(value) filter (where metric like '%.nonfinite_steps') as nonfinite_steps,
    coalesce(any_value(value) filter (where metric like '%.nonfinite_steps'), 0) > 0 as diverged
from outcome
where metric like '%.stability' or metric like '%.grad_norm_max' or metric like '%.nonfinite_steps'
group by all;
