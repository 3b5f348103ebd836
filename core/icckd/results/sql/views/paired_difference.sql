-- Each trial minus the baseline trial with the same seed. Seeds that either lacks, or in which
-- either never reached its target, are left out.
-- Grain: (study, arm, seed, metric).
create or replace view paired_difference as
with known as materialized (
    from outcome
)
select
    trial.study, trial.revision, trial.arm, trial.seed, trial.metric,
    trial.value - baseline.value as difference,   -- same unit as outcome.value
    trial.unit
from known as trial
inner join known as baseline using (study, seed, metric)
where baseline.is_baseline and not trial.is_baseline
    and isfinite(trial.value) and isfinite(baseline.value);
