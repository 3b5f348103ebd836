-- What complete attempts of one shape took: medians.
-- Grain: shape.
create or replace view stage_cost as
with peak as (
    select
        attempt,
        coalesce(
            max(value) filter (where metric like '%.memory_reserved'),
            max(value) filter (where metric like '%.memory_rss')
        ) as bytes
    from recorded
    where isfinite(value)
    group by attempt
),
stored as (
    select attempt, max(bytes) as bytes
    from artifact
    group by attempt
)
select
    attempt_state.shape, any_value(attempt_state.kind) as kind, count(*) as count,
    median(attempt_state.seconds) as seconds,
    median(peak.bytes) as memory_bytes,     -- of the GPU where one was used, else of the process
    coalesce(median(stored.bytes), 0) as disk_bytes
from attempt_state
left join peak using (attempt)
left join stored using (attempt)
where attempt_state.state = 'complete'
group by attempt_state.shape;
