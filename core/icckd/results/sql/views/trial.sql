-- Trials of the revisions shown. The state is the first of these that any of its stages is in: failed,
-- running, blocked, cancelled, pending; else complete.
-- Grain: (study, arm, seed).
create or replace view trial as
select every.*
from every_trial as every
inner join revision as shown using (study, revision)
where shown.is_shown;
