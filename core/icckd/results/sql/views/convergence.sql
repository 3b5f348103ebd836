-- How fast trials of the revisions shown converged, teacher and student each: the first epoch whose
-- validation accuracy reached the study's target, and the training time until then.
-- Grain: (study, arm, seed, kind).
create or replace view convergence as
select
    outcome.study, outcome.revision, outcome.arm, outcome.is_baseline, outcome.seed,
    split_part(outcome.metric, '.', 1) as kind,
    case split_part(outcome.metric, '.', 1)
        when 'teacher' then study.teacher_target when 'student' then study.student_target
    end as target,                          -- validation top-1, percent
    any_value(outcome.value) filter (where outcome.metric like '%.convergence')
        as epoch,                           -- counted from 1; infinite: never
    any_value(outcome.value) filter (where outcome.metric like '%.convergence_seconds')
        as seconds,                         -- of training, evaluation excluded; infinite: never
    isfinite(any_value(outcome.value) filter (where outcome.metric like '%.convergence'))
        as is_reached
from outcome
inner join study using (study, revision)
where outcome.metric like '%.convergence' or outcome.metric like '%.convergence_seconds'
group by all;
