-- What each trial of a latest revision came from: its stages, the stages that those read, the
-- attempt and the session that made them.
-- Grain: (study, arm, seed, stage).
create or replace view lineage as
select
    study.study, study.revision, trial_stage.arm, trial_stage.seed,
    stage.stage, stage.kind, stage.replicate,
    stage.inputs,                           -- JSON: digest by kind
    count(*) over (partition by study.study, stage.stage) as trials,   -- that share the stage
    stage_now.state, stage_now.attempt, attempt.session,
    attempt.started,                        -- Unix seconds
    attempt.host, attempt.fingerprint,      -- of the data's raw files
    attempt.code_epoch,
    attempt.session = study.session as by_newest_session
from study
inner join trial_stage using (session)
inner join stage on stage.session = trial_stage.session and stage.stage = trial_stage.stage
inner join stage_now on stage_now.stage = stage.stage
left join attempt on attempt.attempt = stage_now.attempt
where study.is_latest;
