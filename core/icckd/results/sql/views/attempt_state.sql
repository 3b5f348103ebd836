-- How each attempt stands: by its own last line, else by a session's word, else running while
-- that session is alive, else interrupted. The session is the one that spoke of it last: it may have
-- taken it over. An attempt whose worker died has failed; one that does not count is superseded.
-- Grain: attempt.
create or replace view attempt_state as
with word as (
    select distinct on (attempt) attempt, session, state, reason, cause
    from stage_event
    where attempt is not null
    order by attempt, session desc, sequence desc
),
judged as (
    select
        attempt.*,
        case
            when attempt_end.state is not null then attempt_end.state
            when word.state in ('failed', 'pending') then 'failed'
            when word.state in ('complete', 'cancelled') then word.state
            when live_session.session is not null then 'running'
            when session_end.session is not null then 'stopped'
            else 'interrupted'
        end as verdict,
        case
            when attempt_end.failure_type is not null
                then attempt_end.failure_type || ': ' || attempt_end.failure_message
            when attempt_end.state is null then word.reason
        end as told,
        coalesce(attempt_end.failure_cause, word.cause, '') as known_cause,
        attempt_end.ended,
        coalesce(attempt_end.seconds, greatest(journal.newest - attempt.started, 0))
            / greatest(attempt.members, 1) + coalesce(resumption.seconds, 0) as seconds,
        coalesce(journal.epoch, 0) as epoch
    from attempt
    left join attempt_end using (attempt)
    left join word using (attempt)
    left join resumption using (attempt)
    left join live_session on live_session.session = coalesce(word.session, attempt.session)
    left join session_end on session_end.session = coalesce(word.session, attempt.session)
    left join journal on journal.source = 'attempt' and journal.name = attempt.attempt
)
select
    attempt, session, stage, kind, shape, seed, replicate,
    epoch, epochs,                          -- epochs done, of those planned
    ordinal,                                -- orders attempts, whatever clocks said
    started, ended,                         -- Unix seconds
    seconds,                                -- of the stage until its end or so far: those of the
                                            -- attempts that it went on from are in it; those of
                                            -- a pack are divided among its members
    case verdict when 'stopped' then 'cancelled' when 'interrupted' then 'cancelled' else verdict end
        as state,
    case verdict
        when 'stopped' then 'the session was stopped'
        when 'interrupted' then 'interrupted'
        else coalesce(told, '')
    end as reason,
    known_cause as cause                    -- why it ended without a result, or ''
from judged;
