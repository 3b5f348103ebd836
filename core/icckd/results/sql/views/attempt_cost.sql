-- What each complete attempt took.
-- Grain: attempt.
create or replace view attempt_cost as
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
    attempt_state.attempt, attempt_state.session, attempt_state.shape, attempt_state.kind,
    attempt_state.seconds,                  -- of a worker; those of a pack are divided
    peak.bytes as memory_bytes,             -- of the GPU where one was used, else of the process
    coalesce(stored.bytes, 0) as disk_bytes
from attempt_state
left join peak using (attempt)
left join stored using (attempt)
where attempt_state.state = 'complete';
