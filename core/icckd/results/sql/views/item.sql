-- Scores of single items, such as test questions, of trials of the revisions shown.
-- Grain: (study, arm, seed, metric, item).
create or replace view item as
select every.*
from every_item as every
inner join revision as shown using (study, revision)
where shown.is_shown;
