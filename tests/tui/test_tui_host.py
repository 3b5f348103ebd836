import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import product

import pytest
from rich.cells import cell_len

from icckd.journal.folder import StateFolder
from icckd_tui.app import FeedUpdate
from icckd_tui.data import Frame, Waiting
from icckd_tui.feed import MOST_FAILURES, Feed, HostSampler, Source, source_in
from icckd_tui.host import ENOUGH_SAMPLES, Host, growth_text, host_line, host_panel, host_rows
from icckd_tui.screens.study import StudyScreen
from icckd_tui.text import plain
from icckd_tui.theme import ASCII, BRAILLE
from tests.support import monitor as sample

PANEL = 46  # cells inside the border


def panel(host, glyphs=BRAILLE, width=PANEL):
    return [plain(line) for line in host_panel(host, width, glyphs)]


def line(host, width=160, glyphs=BRAILLE):
    return plain(host_line(host, width, glyphs))


def test_the_panel_shows_cpu_history_memory_and_disk():
    cpu, history, memory, disk = panel(sample.host())

    assert cpu.split() == ["CPU", *cpu.split()[1:2], "41", "%", "load", "6.2"]
    assert history.endswith("▁▅█")
    assert memory.endswith("39 %  12.3/31.9 GiB")
    assert disk == " disk    214 GiB free"
    assert cpu.index("%") == memory.index("%")
    assert 0.3 < cpu.count("━") / (cpu.count("━") + cpu.count("─")) < 0.5


def test_the_panel_holds_its_lines_and_columns_for_any_number_of_gpus():
    for gpus, glyphs in product((0, 1, 2, 3, 4, 8), (BRAILLE, ASCII)):
        host = sample.host([sample.gpu()] * gpus)

        lines = panel(host, glyphs)

        case = (gpus, glyphs.ascii, lines)
        assert len(lines) == host_rows(host) <= 7, case
        assert all(cell_len(text) < PANEL for text in lines), case
        assert all(text.isascii() for text in lines) or glyphs is BRAILLE, case
        assert sum("GPU" in text for text in lines) == (gpus if gpus < 4 else 1), case


def test_many_gpus_share_a_row_with_their_mean_use_and_all_their_memory():
    gpus = [sample.gpu(utilisation=share) for share in (100.0, 50.0, 30.0, 20.0)]

    (row,) = [text for text in panel(sample.host(gpus)) if "GPU" in text]

    assert row.startswith(" 4 GPUs")
    assert row.endswith("50 %  360/564 GiB")


def test_what_a_gpu_cannot_say_is_left_open():
    (row,) = [t for t in panel(sample.host([sample.gpu(None, None, None)])) if "GPU" in t]

    assert row.rstrip().endswith("- %  -")
    assert "━" not in row


def test_scarce_memory_and_disk_are_warnings():
    def tones(host):
        return {span.tone for text in host_panel(host, PANEL, BRAILLE) for span in text}

    assert "warning" not in tones(sample.host())
    assert "warning" in tones(sample.host(memory_used=30 * sample.GIB))
    assert "warning" in tones(sample.host(disk_free=2 * sample.GIB))


def test_shares_outside_0_to_100_stay_inside_the_bar_and_a_small_one_shows():
    for share, cells in ((-1.0, 0), (0.0, 0), (1.0, 1), (100.0, 15), (250.0, 15)):
        cpu, history, *_ = panel(sample.host(cpu=share, history=(share,)))
        assert cpu.count("━") == cells
        assert history[-1] in BRAILLE.levels


def test_the_line_fits_and_keeps_what_matters_most():
    for width, gpus, glyphs in product(range(24, 200, 8), (0, 1, 8), (BRAILLE, ASCII)):
        text = line(sample.host([sample.gpu()] * gpus), width, glyphs)

        case = (width, gpus, glyphs.ascii, text)
        assert cell_len(text) < width, case
        assert text.startswith(" CPU"), case
        assert ("memory" in text) >= ("GPU" in text), case
        assert text.isascii() or glyphs is BRAILLE, case


def test_the_line_says_everything_that_80_columns_hold():
    text = line(sample.host(), 80)

    for words in ("41 %", "load 6.2", "12.3/31.9 GiB", "disk 214 GiB free"):
        assert words in text
    assert "78 %  90/141 GiB" in line(sample.host([sample.gpu()]), 80)
    assert "▁▅█" in line(sample.host(), 120)


def test_before_the_first_sample_there_is_nothing_and_without_samples_it_is_said():
    assert panel(None) == []
    assert line(None) == ""
    assert panel(Host(sample=None)) == [" no reading"]
    assert line(Host(sample=None)) == " host: no reading"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_sample_is_taken_once_a_second_and_the_first_is_not_shown():
    clock, samples = Clock(), []
    sampler = HostSampler(lambda: samples.append(1) or sample.host_sample(), clock=clock)

    shown = []
    for step in range(41):
        clock.now = step / 10
        shown.append(sampler.take())

    assert len(samples) == 5
    found = [host for host in shown if host is not None]
    assert [len(host.history) for host in found] == [1, 2, 3, 4]
    assert shown[0] is None


def test_a_failing_sample_keeps_the_last_one_until_it_is_too_old():
    clock, broken = Clock(), []

    def read():
        if broken:
            raise OSError("gone")
        return sample.host_sample()

    sampler = HostSampler(read, clock=clock)

    def take():
        clock.now += 1
        return sampler.take()

    take()
    assert take().sample is not None
    broken.append(True)
    assert [take() for _ in range(MOST_FAILURES - 1)] == [None] * (MOST_FAILURES - 1)
    assert take() == Host(sample=None)
    assert take() is None
    broken.clear()
    assert take().history == (41.2, 41.2)


def test_the_feed_brings_samples_beside_the_study_from_its_own_thread():
    news, threads, enough = [], set(), threading.Event()

    def post(item):
        news.append(item)
        if isinstance(item, Host):
            enough.set()

    def read():
        threads.add(threading.current_thread().name)
        return sample.host_sample()

    source = replace(sample.FakeReader().source(), host=read)
    feed = Feed(source, None, post, poll_seconds=60)
    feed.start()
    assert enough.wait(10)
    feed.stop()

    assert threads == {"icckd-feed"}
    assert isinstance(news[0], Frame)
    assert not feed._thread.is_alive()


def test_a_failing_sample_disturbs_no_news():
    def read():
        raise RuntimeError("no driver")

    news = []
    feed = Feed(Source(lambda: False, pytest.fail, read), None, news.append, poll_seconds=0.01)
    feed.start()
    while len(news) < 3:
        time.sleep(0.005)
    feed.stop()

    assert set(news) == {Waiting("no study here yet")}


def test_a_real_sample_works_before_the_state_folder_exists(tmp_path):
    folder = StateFolder(tmp_path / "not" / "yet")

    found = source_in(folder).host()

    assert found.disk_free > 0
    assert not folder.root.exists()


def test_the_first_paint_loads_no_results_and_no_sampling():
    code = "import sys, icckd_tui.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert not {"psutil", "pynvml", "numpy", "duckdb", "icckd.results", "icckd.resources"} & loaded


def silent():
    raise RuntimeError("this host says nothing")


def shown(it, host):
    it.app._feed._host = None
    it.app.on_feed_update(FeedUpdate(host))
    return it.pilot.pause()


def test_the_wide_screen_has_a_host_panel_and_the_others_a_line(watch):
    async def scenario(it):
        await shown(it, sample.host([sample.gpu()]))
        assert it.pane("host-panel").display
        assert not it.pane("host-line").display
        assert "╭─ Host ─" in it.text()
        assert "78 %  90/141 GiB" in it.text()
        await it.press("z")
        assert not it.pane("host-panel").display
        assert "disk 214 GiB free" in it.text()
        await it.press("z")
        for size in ((149, 45), (80, 24)):
            await it.pilot.resize_terminal(*size)
            await it.pilot.pause()
            assert "12.3/31.9 GiB" in it.text().splitlines()[-2]
        for size in ((80, 23), (60, 16)):
            await it.pilot.resize_terminal(*size)
            await it.pilot.pause()
            assert "GiB" not in it.text().splitlines()[-2]

    watch(scenario, host=silent)


def test_the_panel_grows_with_its_devices(watch):
    async def scenario(it):
        await shown(it, sample.host([sample.gpu()] * 3))
        assert "GPU 2" in it.text()
        assert "disk" in it.text()

    watch(scenario, host=silent)


def test_the_host_is_no_pane_to_go_to(watch):
    async def scenario(it):
        await shown(it, sample.host())
        seen = []
        for _ in range(7):
            seen.append(it.app.focused.id)
            await it.press("tab")
        assert seen[:-1] == list(StudyScreen.PANES)
        assert seen[-1] == "matrix"

    watch(scenario, host=silent)


def test_the_host_shows_while_there_is_no_study(watch):
    async def scenario(it):
        await it.until(lambda: "Waiting: no study here yet" in it.text())
        await shown(it, sample.host())
        assert "disk 214 GiB free" in it.text()
        assert "Waiting: no study here yet" in it.text()

    watch(scenario, ready=lambda: False, frame=False, host=silent)


def test_without_a_sampler_there_is_no_host(watch):
    async def scenario(it):
        await shown(it, sample.host())
        assert not it.pane("host-panel").display
        assert not it.pane("host-line").display

    watch(scenario)


def test_a_sample_paints_only_the_lines_that_differ(watch):
    async def scenario(it):
        first = sample.host()
        await shown(it, first)
        painted = []
        for name in ("host-panel", "matrix", "log", "curves"):
            view = it.pane(name)
            view.refresh = lambda *regions, **_: painted.extend(regions)
        await shown(it, replace(first))
        assert painted == []
        await shown(it, sample.host(history=(50.0, 100.0, 0.0)))
        assert [(region.y, region.height) for region in painted] == [(1, 1)]

    watch(scenario, host=silent)


@pytest.mark.parametrize("size", [(160, 45), (80, 24)])
def test_ascii_glyphs_and_no_color_reach_the_host(watch, monkeypatch, size):
    monkeypatch.setenv("NO_COLOR", "1")

    async def scenario(it):
        await shown(it, sample.host([sample.gpu()]))
        assert "##" in it.text()
        assert "90/141 GiB" in it.text()
        assert it.text().isascii()

    watch(scenario, size=size, glyphs=ASCII, host=silent)


def test_growth_is_the_slope_of_a_processs_memory_once_enough_samples_say_so():
    mib = 2**20
    steady = tuple(sample.process(1, memory=700 * mib + place % 2 * mib) for place in range(60))
    leaking = tuple(sample.process(1, memory=700 * mib + place * mib) for place in range(60))

    assert growth_text(leaking) == "+60.0 MiB"
    assert growth_text(leaking[:ENOUGH_SAMPLES]) == "+60.0 MiB"
    assert growth_text(leaking[: ENOUGH_SAMPLES - 1]) == "-"
    assert growth_text(tuple(reversed(leaking))) == "-60.0 MiB"
    assert abs(float(growth_text(steady).split()[0])) <= 0.1


def test_a_process_that_grows_is_told_on_host_and_trial(watch):
    row = next(row for row in sample.queue() if row.state == "running")
    past = tuple(sample.process(row.pid, memory=2**30 + place * 2**20) for place in range(40))

    async def scenario(it):
        it.app.on_feed_update(FeedUpdate(replace(sample.host(), processes=(past,))))
        it.app.state.choices.trial = row.trials[0]
        await it.press("7")
        await it.until(lambda: "+60.0 MiB" in it.text())
        assert "a minute" in it.text()
        await it.press("4")
        await it.until(lambda: "+60.0 MiB a minute" in it.text())

    watch(scenario)
