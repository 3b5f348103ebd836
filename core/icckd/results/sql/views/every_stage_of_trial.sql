-- The stages of every trial of all revisions, as they stand now: the teacher first, then its
-- students. A stage that several trials share is here once for each of them.
-- Grain: (study, revision, arm, seed, position).
create or replace view every_stage_of_trial as
select
    study.study, study.revision,
    study.session,                          -- the newest that planned the revision
    trial_stage.arm, arm.position as arm_position, trial_stage.arm = study.baseline as is_baseline,
    trial_stage.seed, trial_stage.position,
    stage_now.stage, stage_now.kind, stage_now.shape, stage_now.replicate,
    stage_now.state, stage_now.reason,
    stage_now.attempts, stage_now.attempt,  -- how many, and the one that stands for the stage
    stage_now.started,                      -- Unix seconds
    stage_now.epoch, stage_now.epochs, stage_now.seconds
from study
inner join trial_stage using (session)
inner join arm on arm.session = trial_stage.session and arm.arm = trial_stage.arm
inner join stage_now using (stage);
