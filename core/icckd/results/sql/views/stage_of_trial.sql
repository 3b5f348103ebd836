-- The stages of every trial of the revisions shown, as they stand now: the teacher first, then its
-- students. A stage that several trials share is here once for each of them.
-- Grain: (study, arm, seed, position).
create or replace view stage_of_trial as
select every.*
from every_stage_of_trial as every
inner join revision as shown using (study, revision)
where shown.is_shown;
