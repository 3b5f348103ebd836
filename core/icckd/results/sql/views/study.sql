-- Studies and their revisions. The newest session that planned a revision stands for it, and the
-- revision planned last is the latest. The other views show one revision of each study: the newest
-- that is complete, or the latest where none is (`revision.is_shown`); those that begin with `every_`
-- show all.
-- Grain: (study, revision).
create or replace view study as
select
    revision.study, revision.revision, revision.session, revision.planned,   -- Unix seconds
    plan.question, plan.baseline, plan.primary_metric, plan.outcomes, plan.family,
    plan.smallest_effect,                   -- unit of the primary metric
    plan.teacher_target, plan.student_target,   -- percent of validation top-1
    revision.position = 1 as is_latest
from revision
inner join study_revision as plan using (session);
