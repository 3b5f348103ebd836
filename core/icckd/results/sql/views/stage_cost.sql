-- What complete attempts of one shape took: medians.
-- Grain: shape.
create or replace view stage_cost as
select
    shape, any_value(kind) as kind, count(*) as count,
    median(seconds) as seconds,             -- of a worker
    median(memory_bytes) as memory_bytes,   -- of the GPU where one was used, else of the process
    median(disk_bytes) as disk_bytes
from attempt_cost
group by shape;
