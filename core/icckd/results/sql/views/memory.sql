-- What trials of the revisions shown took in memory, teacher and student each; null where it was not
-- measured, as on a machine without a GPU.
-- Grain: (study, arm, seed, kind).
create or replace view memory as
select
    study, revision, arm, is_baseline, seed,
    split_part(metric, '.', 1) as kind,
    any_value(value) filter (where metric like '%.memory_rss')
        as resident_bytes,                  -- peak of the process, interpreter and torch included
    any_value(value) filter (where metric like '%.memory_allocated')
        as allocated_bytes,                 -- torch's peak on the GPU
    any_value(value) filter (where metric like '%.memory_reserved')
        as reserved_bytes,                  -- torch's peak on the GPU, free blocks included
    any_value(value) filter (where metric like '%.memory_nvml')
        as process_bytes,                   -- on the GPU, as the driver sees it, at the end
    any_value(value) filter (where metric like '%.cache_bytes')
        as cache_bytes                      -- of the negative cache
from outcome
where metric like '%.memory\_%' escape '\' or metric like '%.cache_bytes'
group by all;
