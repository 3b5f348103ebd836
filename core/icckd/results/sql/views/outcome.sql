-- Outcomes of trials of the revisions shown: what complete stages recorded or what follows from their
-- series, the students of one teacher averaged (all of them, or there is no value). A trial with a
-- failed or blocked stage has no outcomes but the `nonfinite_steps` of the attempt that failed.
-- Targets never reached are infinite; what was recorded as NaN or infinite is no value.
-- Grain: (study, arm, seed, metric).
create or replace view outcome as
select every.*
from every_outcome as every
inner join revision as shown using (study, revision)
where shown.is_shown;
