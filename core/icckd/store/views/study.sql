-- Studies and their revisions. The newest session that planned a revision stands for it, and the
-- revision planned last is the latest; the other views show latest revisions only.
-- Grain: (study, revision).
create or replace view study as
with planned as (
    select
        session.study, session.revision, session.session, plan.planned,
        plan.question, plan.baseline, plan.primary_metric, plan.outcomes, plan.family,
        plan.smallest_effect, plan.teacher_target, plan.student_target,
        row_number() over (
            partition by session.study, session.revision
            order by session.ordinal desc, session.started desc, session.session desc
        ) as age_in_revision,
        row_number() over (
            partition by session.study
            order by session.ordinal desc, session.started desc, session.session desc
        ) as age_in_study
    from study_revision as plan
    inner join session using (session)
)
select
    study, revision, session, planned,      -- planned: Unix seconds
    question, baseline, primary_metric, outcomes, family,
    smallest_effect,                        -- unit of the primary metric
    teacher_target, student_target,         -- percent of validation top-1
    age_in_study = 1 as is_latest
from planned
where age_in_revision = 1;
