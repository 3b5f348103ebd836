-- Series of trials of the revisions shown over epochs, from the attempt that stands for each stage,
-- running ones included; students of one teacher averaged. Values that are not finite are left out.
-- Grain: (study, arm, seed, metric, epoch).
create or replace view curve as
select every.*
from every_curve as every
inner join revision as shown using (study, revision)
where shown.is_shown;
