"""What `import icckd` offers; the module itself imports each of it when it is first used."""

from icckd.api.compare import compare as compare
from icckd.api.planning import StudyPlan as StudyPlan
from icckd.api.power import Power as Power
from icckd.api.power import power as power
from icckd.api.results import StudyResults as StudyResults
from icckd.api.results import results as results
from icckd.api.run import run as run
from icckd.api.study import Study as Study
from icckd.report.figures import Plot as Plot
from icckd.results.frames import Frame as Frame

__version__: str
