"""Trainings of one rung do not hang on each other: the plan says so before it asks for the first."""

from world import World, findings, play


def test_the_trainings_of_a_rung_are_announced_and_then_asked_for_as_they_were():
    actions = play(findings(seconds=240.0), World())
    announcing = [(place, action) for place, action in enumerate(actions) if action.ahead]
    assert len(announcing[0][1].ahead) >= 2
    for place, action in announcing:
        asked = actions[place + 1 : place + 1 + len(action.ahead)]
        assert [(later.stage, later.job) for later in asked] == [(later.stage, later.job) for later in action.ahead]
        assert {later.stage for later in asked} == {"train"}


def test_a_training_that_ran_beside_others_does_not_say_how_long_one_takes():
    from dataclasses import replace

    from sartor.catalog.planners.parts.forecast import Forecast

    world, known = World(), findings(seconds=240.0)
    training = next(action for action in play(known, world) if action.stage == "train")
    outcome = world.answer(training)
    forecast = Forecast(known)
    before = forecast.training()
    for _ in range(3):
        forecast.note(training, replace(outcome, seconds=0.1))
    assert forecast.training() == before
    for _ in range(3):
        forecast.note(training, replace(outcome, seconds=outcome.result.seconds + 9.0))
    assert forecast.training() > before
