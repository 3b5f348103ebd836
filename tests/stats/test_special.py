"""The distribution functions are scipy's own, though its package is not imported for them."""

import subprocess
import sys

import pytest
import scipy.special

from icckd.stats import special

NAMES = ("bdtr", "chdtri", "nctdtr", "ndtr", "ndtri", "owens_t", "stdtr", "stdtrit")
SCRIPTS = {
    "later the whole package can be imported": """
from icckd.stats import special
assert "scipy.special" not in sys.modules, "the package was imported"
import scipy.special, scipy.stats
assert scipy.special.gamma(5) == 24
assert scipy.special.stdtr is special.stdtr
assert scipy.stats.t.cdf(0.5, 3) == special.stdtr(3, 0.5)
""",
    "beside another thread the whole package is imported": """
import threading
end = threading.Event()
other = threading.Thread(target=end.wait)
other.start()
from icckd.stats import special
end.set()
assert sys.modules["scipy.special"].gamma(5) == 24
assert special.stdtr is sys.modules["scipy.special"].stdtr
""",
    "without its module the whole package is asked, and says what is missing": """
sys.modules["scipy.special._ufuncs"] = None
try:
    from icckd.stats import special
except ImportError as error:
    assert "_ufuncs" in str(error)
else:
    raise AssertionError("imported from nowhere")
""",
}


def test_they_are_the_functions_of_scipy():
    for name in NAMES:
        assert getattr(special, name) is getattr(scipy.special, name)


@pytest.mark.parametrize("case", SCRIPTS)
def test_in_a_process_of_its_own(case):
    words = [sys.executable, "-c", f"import sys\n{SCRIPTS[case]}"]
    done = subprocess.run(words, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
