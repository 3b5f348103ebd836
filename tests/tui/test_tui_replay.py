"""A finished study shown again from its journals."""

import asyncio

import pytest

from icckd.errors import UsageError
from icckd.journal.folder import StateFolder
from icckd_tui.app import WatchApp
from icckd_tui.replay import SPEEDS, Player, replay_of
from icckd_tui.screens.base import replay_text
from icckd_tui.theme import ASCII
from tests.support.lab import lab as lab
from tests.support.lab import planned


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_player_runs_stops_seeks_and_changes_its_speed():
    clock = Clock()
    player = Player(1000.0, 2000.0, 10.0, clock)
    clock.now += 5
    assert player.now == 1050.0
    player.toggle()
    clock.now += 50
    assert (player.now, player.playing) == (1050.0, False)
    player.seek(4)
    assert player.now == 1150.0
    player.toggle()
    player.faster(1)
    assert player.speed == SPEEDS[SPEEDS.index(16.0)]
    clock.now += 10
    assert player.now == 1150.0 + 160.0
    player.faster(-10)
    assert player.speed == SPEEDS[0]
    player.seek(100)
    assert (player.now, player.share, player.playing) == (2000.0, 1.0, False)
    assert "100%" in replay_text(player, ASCII)
    player.toggle()
    assert player.now == 1000.0
    assert Player(5.0, 5.0, 1.0, clock).share == 1.0


def test_an_empty_folder_has_nothing_to_replay(tmp_path):
    with pytest.raises(UsageError, match="nothing to replay"):
        replay_of(StateFolder(tmp_path), 1.0)


def test_a_study_happens_again_forward_and_back(lab):
    plan = planned(seeds=(0, 1, 2))
    with lab.finished("s1", plan) as session:
        session.train_all(skip=[("no-cache", 2)])
        session.train(session.stage("no-cache", 2), end="failed")
    before = {path: path.read_bytes() for path in lab.folder.journals()}
    source, player = replay_of(lab.folder, 0.25)
    player.toggle()

    def standing(results):
        results.refresh()
        progress = results.progress(results.study(None))
        return progress.session, progress.trials.complete, progress.trials.failed

    study_at = []
    with source.open() as results:
        home = results.folder.root
        for steps in (0, 20, 20):
            player.seek(steps)
            assert not source.advance()
            study_at.append(standing(results))
        player.seek(-20)
        assert source.advance(), "going back starts over"
    with source.open() as results:
        study_at.append(standing(results))
    assert study_at[0] == ("live", 0, 0)
    assert study_at[1][0] == "live"
    assert 3 <= study_at[1][1] <= 8
    assert study_at[2] == ("ended", 11, 1)
    assert study_at[3] == study_at[1]
    assert not home.exists()
    assert not results.folder.root.exists()
    assert before == {path: path.read_bytes() for path in lab.folder.journals()}


def test_a_session_that_wrote_no_end_is_interrupted_at_the_end_of_its_replay(lab):
    session = lab.session("s1", planned(seeds=(0,)))
    session.train_all(skip=[("no-cache", 0)])
    source, player = replay_of(lab.folder, 0.25)
    player.toggle()

    with source.open() as results:
        sessions = []
        for steps in (20, 100):
            player.seek(steps)
            source.advance()
            results.refresh()
            sessions.append(results.progress(results.study(None)).session)

    assert sessions == ["live", "interrupted"]


def test_keys_move_a_replay_on_the_screen(lab):
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    source, player = replay_of(lab.folder, 0.25)

    async def scenario():
        app = WatchApp(source, None, player=player, clock=lambda: player.now)
        async with app.run_test(size=(120, 35)) as pilot:
            for _ in range(300):
                await asyncio.sleep(0.02)
                if app.state.frame is not None:
                    break
            await pilot.press("semicolon")
            assert not player.playing
            at = player.share
            await pilot.press(*["full_stop"] * 45)
            assert player.share == 1.0
            for _ in range(300):
                await asyncio.sleep(0.02)
                if app.state.frame.progress.session == "ended":
                    break
            assert app.state.frame.progress.trials.complete == 8
            await pilot.press("comma")
            assert at < player.share < 1.0
            await pilot.press("right_curly_bracket", "left_curly_bracket", "W")
            assert not app.state.choices.unlocked
            text = "\n".join(
                "".join(s.text for s in strip) for strip in app.screen._compositor.render_strips()
            )
            assert "REPLAY stopped" in text

    asyncio.run(scenario())
