"""Another arm than the declared baseline as the one that screens compare with."""

from tests.support import monitor as sample


def comparison(it, arm):
    return next(
        row for row in it.frame.comparisons if (row.arm, row.metric) == (arm, "student.top1")
    )


def test_b_compares_with_the_arm_under_the_cursor_and_says_so_everywhere(watch):
    async def scenario(it):
        it.pane("differences").focus()
        await it.press("j", "j")
        await it.until(lambda: it.app.state.choices.focus == "no-cache")
        await it.press("b")
        await it.until(lambda: it.frame.reference == "no-cache")
        await it.until(lambda: "Against no-cache" in it.text())
        text = it.text()
        assert "Against no-cache, not the declared baseline full" in text
        assert "against no-cache, not the declared baseline" in text.splitlines()[0]
        assert "reference" in text
        assert it.pane("differences").table.rows[0].key == "full"
        roles = {line.name: line.prominence for line in it.pane("curves").chart.lines}
        assert roles["full"] == "other"

        await it.press("3")
        await it.until(lambda: "No verdicts without the baseline: student.top1" in it.text())
        assert "the part helps" not in it.text()
        it.app.state.choices.focus = "full"
        await it.press("b")
        await it.until(lambda: it.frame.is_declared)
        await it.until(lambda: "Verdicts on student.top1" in it.text())
        assert "not the declared baseline" not in it.text()
        assert "the part helps" in it.text()

    watch(scenario)


def test_b_again_goes_back_to_the_declared_baseline(watch):
    async def scenario(it):
        declared = comparison(it, "plain-kd").difference
        it.app.state.choices.focus = "single-view"
        await it.press("b")
        await it.until(lambda: not it.frame.is_declared)
        assert comparison(it, "plain-kd").difference != declared
        await it.press("b")
        await it.until(lambda: it.frame.is_declared)
        assert comparison(it, "plain-kd").difference == declared

    watch(scenario)


def test_a_view_against_another_arm_is_no_event(watch):
    async def scenario(it):
        it.app.state.choices.focus = "single-view"
        before = len(it.app.state.events)
        await it.press("b")
        await it.until(lambda: not it.frame.is_declared)
        await it.press("b")
        await it.until(lambda: it.frame.is_declared)
        assert len(it.app.state.events) == before

    watch(scenario)


def test_a_reference_that_the_study_no_longer_has_is_left(watch):
    async def scenario(it):
        it.app.state.choices.focus = "single-view"
        await it.press("b")
        await it.until(lambda: it.frame.reference == "single-view")
        it.reader.arms = sample.ARMS[:4]
        await it.bring(
            study=sample.study(sample.ARMS[:4]),
            trials=sample.trials(sample.ARMS[:4]),
            comparisons=sample.comparisons(sample.ARMS[:4]),
        )
        assert it.frame.is_declared
        assert "not the declared" not in it.text()

    watch(scenario)
