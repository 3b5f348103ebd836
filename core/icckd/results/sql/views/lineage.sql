-- What each trial of a revision shown came from: its stages, the stages that those read, the
-- attempt and the session that made them.
-- Grain: (study, arm, seed, stage).
create or replace view lineage as
select
    need.study, need.revision, need.arm, need.seed,
    need.stage, need.kind, need.replicate,
    stage.inputs,                           -- JSON: digest by kind
    count(*) over (partition by need.study, need.stage) as trials,   -- that share the stage
    need.state, need.attempt, attempt.session,
    attempt.started,                        -- Unix seconds
    attempt.host, attempt.fingerprint,      -- of the data's raw files
    attempt.code_epoch,
    attempt.session = need.session as by_newest_session
from stage_of_trial as need
inner join stage using (session, stage)
left join attempt on attempt.attempt = need.attempt;
