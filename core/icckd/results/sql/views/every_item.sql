-- Scores of single items, such as test questions, of trials of all revisions: what complete stages
-- recorded. The mean over a run's items is its outcome.
-- Grain: (study, revision, arm, seed, metric, item).
create or replace view every_item as
select
    need.study, need.revision, need.arm, need.seed, item_scores.metric,
    unnest(item_scores.items) as item,
    unnest(item_scores.item_groups) as item_group,   -- null where items have none
    unnest(item_scores.scores) as score
from every_stage_of_trial as need
inner join item_scores using (attempt)
where need.state = 'complete';
