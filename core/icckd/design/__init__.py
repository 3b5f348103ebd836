"""From a study to its arms and trials. Pure; baseline first; the order is stable."""

from icckd.design.arms import Arm as Arm
from icckd.design.arms import Trial as Trial
from icckd.design.arms import arms as arms
from icckd.design.arms import expand as expand
from icckd.design.arms import family as family
from icckd.design.arms import outcome_columns as outcome_columns
