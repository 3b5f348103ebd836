"""A finished study shown again from its journals."""

import asyncio
from pathlib import Path

import pytest

from icckd.errors import UsageError
from icckd.journal.folder import StateFolder
from icckd_tui.app import WatchApp
from icckd_tui.glyphs import ASCII
from icckd_tui.player import SPEEDS, Player, replay_text
from icckd_tui.replay import replay_of
from tests.store.conftest import lab as lab
from tests.store.conftest import planned


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

    with source.open() as reader:
        study_at = []
        for steps in (0, 20, 20, -20):
            player.seek(steps)
            reader.refresh()
            study = reader.study(None)
            progress = reader.progress(study)
            study_at.append((progress.session, progress.trials.complete, progress.trials.failed))
        home = Path(reader._home)
    assert study_at[0] == ("live", 0, 0)
    assert study_at[1][0] == "live"
    assert 3 <= study_at[1][1] <= 8
    assert study_at[2] == ("ended", 11, 1)
    assert study_at[3] == study_at[1]
    assert not home.exists()
    assert before == {path: path.read_bytes() for path in lab.folder.journals()}


def test_keys_move_a_replay_on_the_screen(lab):
    with lab.finished("s1", planned(seeds=(0, 1))) as session:
        session.train_all()
    source, player = replay_of(lab.folder, 0.25)

    async def scenario():
        app = WatchApp(source, None, player=player, clock=lambda: player.now)
        async with app.run_test(size=(120, 35)) as pilot:
            for _ in range(300):
                await asyncio.sleep(0.02)
                if app.desk.frame is not None:
                    break
            await pilot.press("semicolon")
            assert not player.playing
            at = player.share
            await pilot.press(*["full_stop"] * 45)
            assert player.share == 1.0
            for _ in range(300):
                await asyncio.sleep(0.02)
                if app.desk.frame.progress.session == "ended":
                    break
            assert app.desk.frame.progress.trials.complete == 8
            await pilot.press("comma")
            assert at < player.share < 1.0
            await pilot.press("right_curly_bracket", "left_curly_bracket", "W")
            assert not app.desk.choices.unlocked
            text = "\n".join(
                "".join(s.text for s in strip) for strip in app.screen._compositor.render_strips()
            )
            assert "REPLAY stopped" in text

    asyncio.run(scenario())
