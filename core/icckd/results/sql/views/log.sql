-- Log lines of the revisions shown with the start and the end of each attempt, once for every trial
-- that needs the stage (`use_number` 1 is the first), and what their sessions said (arm '').
-- Grain: (source, name, sequence, arm, seed).
create or replace view log as
select every.*
from every_log as every
inner join revision as shown using (study, revision)
where shown.is_shown;
