"""The engine `semaphore` when Semaphore, a task or an answer goes wrong: lifecycle.md EN-60…66, issue 6."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hestia.core.errors import EngineRefused, EngineUnavailable, HestiaError, StartFailed
from hestia.core.ports import Handle, Presence, Started
from hestia.engines.semaphore import SemaphoreEngine
from tests.contract.engine_contract import GATEWAY, GRACE, RecordingReport, key
from tests.contract.semaphore_machine import SemaphoreMachine
from tests.fakes.facts import eventually
from tests.fakes.semaphore import (
    V2_10,
    V2_16,
    VERSIONS,
    Fault,
    Held,
    Kind,
    Status,
    asks,
    fails,
    hangs,
    in_turn,
    succeeds,
)

TASKS = r"/tasks$"


BOTH = pytest.mark.parametrize("machine", VERSIONS, indirect=True)  # where they end tasks in other ways


@pytest.fixture
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SemaphoreMachine]:
    async with SemaphoreMachine(VERSIONS[getattr(request, "param", V2_16.name)], tmp_path) as one:
        yield one


@pytest.fixture
async def engine(machine: SemaphoreMachine) -> AsyncIterator[SemaphoreEngine]:
    engine = machine.engine()
    yield engine
    await engine.aclose()


async def start(
    engine: SemaphoreEngine, machine: SemaphoreMachine, report: RecordingReport | None = None, **more: object
) -> Started:
    return await engine.start(machine.spec(**more), key(), report or RecordingReport())  # type: ignore[arg-type]  # options


async def failing(
    engine: SemaphoreEngine, machine: SemaphoreMachine, report: RecordingReport | None = None, **more: object
) -> HestiaError:
    with pytest.raises(HestiaError) as caught:
        await start(engine, machine, report, **more)
    assert caught.value.detail.endswith((".", ". ")), caught.value.detail
    return caught.value


def posts(machine: SemaphoreMachine, what: str = TASKS) -> int:
    return len(machine.server.called("POST", what))


# -- EN-60: what a task's end means ----------------------------------------------------------------


async def test_en60_success_is_not_ready_and_gone_is_said_by_the_address(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    """The playbook starts nothing and succeeds: there is a handle, and nobody at the address."""
    machine.server.plays["start"] = succeeds("nothing to do")
    started = await start(engine, machine)
    assert (await engine.inspect(started.handle)).presence is Presence.GONE


async def test_en60_an_error_fails_with_the_last_lines(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    machine.server.plays["start"] = fails("fatal: no GPU left", "PLAY RECAP", code=2)
    report = RecordingReport()
    error = await failing(engine, machine, report)
    assert isinstance(error, StartFailed)
    assert error.stage == "engine"
    assert "fatal: no GPU left" in error.tail
    assert "fatal: no GPU left" in report.lines
    assert report.handles, "something may have been made: a stop has to look"
    await engine.stop(report.handles[-1], grace=GRACE)
    assert len(machine.ended) == 1


# -- EN-61: answers that are lost ------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("kind", [Kind.DROP_REPLY, Kind.STATUS])
async def test_en61_a_lost_answer_is_looked_for_and_followed(
    engine: SemaphoreEngine, machine: SemaphoreMachine, kind: Kind
) -> None:
    """A 502 of a proxy tells as little as a cut connection; here the task exists, there it does not."""
    machine.server.faults.add(Fault(kind, "POST", TASKS))
    started = await start(engine, machine)
    assert machine.started == [str(key())]
    assert posts(machine) == (1 if kind is Kind.DROP_REPLY else 2)
    await engine.stop(started.handle, grace=GRACE)
    assert machine.anything_left() == []


async def test_en61_a_call_that_never_arrived_is_asked_again_once(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    machine.server.faults.add(Fault(Kind.DROP_CALL, "POST", TASKS))
    started = await start(engine, machine)
    assert (posts(machine), len(machine.started)) == (2, 1)
    await engine.stop(started.handle, grace=GRACE)


async def test_en61_answers_lost_for_good_leave_a_handle_and_say_that_it_is_not_known(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    machine.server.faults.add(Fault(Kind.DROP_CALL, "POST", TASKS, times=None))
    report = RecordingReport()
    error = await failing(engine, machine, report)
    assert isinstance(error, EngineUnavailable)
    assert error.sent
    machine.server.faults.lift()
    assert (await engine.inspect(report.handles[-1])).presence is Presence.GONE
    await engine.stop(report.handles[-1], grace=GRACE)
    assert machine.started == []


async def test_en61_the_same_key_again_after_an_unknown_result_is_one_instance(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    machine.server.faults.add(Fault(Kind.HTML, "POST", TASKS, times=None))
    await failing(engine, machine)
    machine.server.faults.lift()
    started = await start(engine, machine)
    assert await start(engine, machine) == started
    assert machine.started == [str(key())]
    await engine.stop(started.handle, grace=GRACE)


# -- EN-62, EN-63: waiting, restart of the server --------------------------------------------------


async def test_en62_waiting_is_no_failure_and_is_shown(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    """Two instances, one template: the second waits for the first."""
    held = Held()
    machine.server.plays["start"] = in_turn(held, machine.start)
    first, second = RecordingReport(), RecordingReport()
    async with asyncio.TaskGroup() as group:
        one = group.create_task(engine.start(machine.spec(), key(), first))
        await eventually(lambda: len(held.runs) == 1, "the first task to run")
        two = group.create_task(engine.start(machine.spec(), key(instance="b"), second))
        await eventually(
            lambda: any("waiting in Semaphore's queue" in text for _, text in second.stages),
            lambda: str(second.stages),
        )
        held.finish()
    await engine.stop(one.result().handle, grace=GRACE)
    await engine.stop(two.result().handle, grace=GRACE)


@BOTH
async def test_en62_the_wait_has_a_limit_of_its_own_and_the_task_is_taken_back(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    held = Held()
    machine.server.plays["start"] = held
    async with asyncio.TaskGroup() as group:
        one = group.create_task(engine.start(machine.spec(), key(), RecordingReport()))
        await eventually(lambda: len(held.runs) == 1, "the first task to run")
        report = RecordingReport()
        with pytest.raises(EngineUnavailable, match="semaphore_task_timeout") as caught:
            await engine.start(machine.spec(queue_timeout=0.2), key(instance="b"), report)
        assert caught.value.sent
        await engine.stop(report.handles[-1], grace=GRACE)
        held.finish()
    assert len(machine.server.world.tasks) == 2, "nothing ran, so there is nothing to stop"
    await engine.stop(one.result().handle, grace=GRACE)


@BOTH
async def test_en63_a_task_that_a_restarted_server_forgot_is_lost_after_its_limit(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    held = Held()
    machine.server.plays["start"] = held
    async with asyncio.TaskGroup() as group:
        began = group.create_task(failing(engine, machine, task_timeout=6))
        await eventually(lambda: len(held.runs) == 1, "the task to run")
        await machine.server.restart()
    error = began.result()
    assert isinstance(error, EngineUnavailable)
    assert error.sent
    assert "restarted" in error.detail


async def test_en63_a_server_that_is_away_for_a_while_costs_nothing(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    """Its plays go on, as behind a broken network."""
    held = Held("made progress")
    machine.server.plays["start"] = held
    report = RecordingReport()
    async with asyncio.TaskGroup() as group:
        began = group.create_task(start(engine, machine, report))
        await eventually(lambda: len(held.runs) == 1, "the task to run")
        await machine.server.go_down()
        await eventually(lambda: any("does not answer" in text for _, text in report.stages), "to be noticed")
        await machine.server.come_up()
        held.finish()
    assert posts(machine) == 1
    assert "made progress" in report.lines
    assert began.result().handle == report.handles[-1]


async def test_en63_a_task_that_is_deleted_is_lost(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    held = Held()
    machine.server.plays["start"] = held
    report = RecordingReport()
    async with asyncio.TaskGroup() as group:
        began = group.create_task(failing(engine, machine, report))
        await eventually(lambda: len(held.runs) == 1, "the task to run")
        machine.server.lose(held.runs[0].task.id)
        await eventually(began.done, "the loss to be noticed")
    error = began.result()
    assert isinstance(error, EngineUnavailable)
    assert (error.sent, "deleted" in error.detail) == (True, True)
    await engine.stop(report.handles[-1], grace=GRACE)
    assert len(machine.ended) == 1, "what it made may run: the stop template ends it"


# -- EN-64: what is never stopped ------------------------------------------------------------------


@BOTH
async def test_en64_a_finished_task_is_never_stopped_and_a_waiting_one_never_forced(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    started = await start(engine, machine)
    await engine.stop(started.handle, grace=GRACE)
    held = Held()
    machine.server.plays["start"] = in_turn(held, machine.start)
    report = RecordingReport()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(engine.start(machine.spec(), key(2), RecordingReport()))
        await eventually(lambda: len(held.runs) == 1, "the first task to run")
        waiting = group.create_task(engine.start(machine.spec(), key(instance="b"), report))
        await eventually(lambda: bool(report.handles), "the second task to wait")
        waiting.cancel()
        await engine.stop(report.handles[-1], grace=GRACE)
        held.finish()
    await engine.stop(running.result().handle, grace=GRACE)
    stops = machine.server.called("POST", r"/tasks/\d+/stop$")
    assert len(stops) == 1
    assert '"force":false' in stops[0].body.replace(" ", "")
    assert str(key(instance="b")) not in machine.started


@BOTH
async def test_a_start_that_is_given_up_while_it_runs_is_stopped_and_undone(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    machine.server.plays["start"] = hangs("half done")
    report = RecordingReport()
    async with asyncio.TaskGroup() as group:
        began = group.create_task(engine.start(machine.spec(), key(), report))
        await eventually(lambda: "half done" in report.lines, "the play to be half done")
        began.cancel()
    await engine.stop(report.handles[-1], grace=GRACE)
    assert machine.ended == [str(key())]
    assert machine.server.world.with_status(Status.RUNNING) == []


# -- EN-65: stops that fail ------------------------------------------------------------------------


async def test_en65_a_stop_play_that_fails_is_stuck_with_its_last_lines(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    started = await start(engine, machine)
    machine.server.plays["stop"] = in_turn(fails("unit not found"), machine.stop)
    with pytest.raises(EngineRefused) as caught:
        await engine.stop(started.handle, grace=GRACE)
    assert caught.value.cause == "stuck"
    assert "unit not found" in caught.value.tail
    assert (await engine.inspect(started.handle)).presence is Presence.RUNNING
    await engine.stop(started.handle, grace=GRACE)  # the playbook was mended
    assert machine.anything_left() == []


async def test_en65_a_stop_that_succeeds_without_an_effect_is_stuck(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    started = await start(engine, machine)
    machine.server.plays["stop"] = succeeds("nothing to do")
    with pytest.raises(EngineRefused, match="still answers") as caught:
        await engine.stop(started.handle, grace=0.1)
    assert caught.value.cause == "stuck"
    await machine.crash(started.handle)
    await engine.stop(started.handle, grace=GRACE)


async def test_en65_a_missing_stop_template_is_stuck_and_named(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    started = await start(engine, machine)
    machine.server.world.drop_template(machine.scene.project, machine.scene.templates["stop"])
    with pytest.raises(EngineRefused, match=r"no template 'stop'.*There are: ") as caught:
        await engine.stop(started.handle, grace=GRACE)
    assert caught.value.cause == "stuck"
    await machine.crash(started.handle)


async def test_en65_a_server_that_is_away_leaves_it_unknown(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    started = await start(engine, machine)
    await machine.server.go_down()
    with pytest.raises(EngineUnavailable):
        await engine.stop(started.handle, grace=GRACE)
    assert (await engine.inspect(started.handle)).presence is Presence.RUNNING
    await machine.crash(started.handle)
    assert (await engine.inspect(started.handle)).presence is Presence.UNKNOWN
    with pytest.raises(EngineUnavailable):
        await engine.discover(GATEWAY)
    await machine.server.come_up()


# -- EN-66: a gateway that was killed --------------------------------------------------------------


async def cut(task: asyncio.Task[Started]) -> None:
    """As by kill -9: whatever it was about to do is not done any more."""
    task.cancel()
    await asyncio.wait({task})


@BOTH
@pytest.mark.parametrize("state", ["absent", "waiting", "running", "finished"])
async def test_en66_the_next_gateway_resumes_with_the_key_and_ends_with_one_instance(
    machine: SemaphoreMachine, state: str
) -> None:
    before, held = machine.engine(), Held()
    if state in ("waiting", "running"):
        machine.server.plays["start"] = in_turn(held, machine.start)
    async with asyncio.TaskGroup() as group:
        if state == "waiting":
            group.create_task(before.start(machine.spec(), key(instance="b"), RecordingReport()))
            await eventually(lambda: len(held.runs) == 1, "another task in the way")
        if state != "absent":
            first = group.create_task(before.start(machine.spec(), key(), RecordingReport()))
            reached = {
                "waiting": lambda: len(machine.server.queue.waiting) == 1,
                "running": lambda: len(held.runs) == 1,
                "finished": lambda: len(machine.started) == 1,
            }
            await eventually(reached[state], f"the task to be {state}")
            await cut(first)
        after = machine.engine()
        found = {one.key: one for one in (await after.discover(GATEWAY)).found}
        assert (key() in found) == (state != "absent")
        if state in ("waiting", "running"):
            assert found[key()].observed.pending
        if state == "finished":
            assert not found[key()].observed.pending
        report = RecordingReport()
        resumed = group.create_task(after.start(machine.spec(), key(), report))
        if held.runs:
            await eventually(lambda: bool(report.handles), "it to be followed")
            held.finish()
    expected = [] if state == "running" else [str(key())]  # a held play starts nothing itself
    assert [one for one in machine.started if one == str(key())] == expected
    assert sum(task.asked["message"].startswith(f"{key()} start") for task in machine.tasks()) == 1
    await after.stop(resumed.result().handle, grace=GRACE)
    await before.aclose()
    await after.aclose()


async def test_en66_pushed_out_of_the_list_a_second_run_makes_no_second_instance(
    machine: SemaphoreMachine, engine: SemaphoreEngine
) -> None:
    await start(engine, machine)
    for task in machine.tasks():
        machine.server.lose(task.id)
    after = machine.engine()
    assert (await after.discover(GATEWAY)).found == ()
    started = await start(after, machine)
    assert machine.started == [str(key())] * 2
    assert machine.living(key()) == 1
    await after.stop(started.handle, grace=GRACE)
    await after.aclose()


async def test_a_stop_that_was_under_way_is_followed_not_repeated(machine: SemaphoreMachine) -> None:
    before, held = machine.engine(), Held()
    started = await start(before, machine)
    machine.server.plays["stop"] = held
    async with asyncio.TaskGroup() as group:
        first = group.create_task(before.stop(started.handle, grace=GRACE))
        await eventually(lambda: len(held.runs) == 1, "the stop to run")
        first.cancel()
        after = machine.engine()
        (found,) = (await after.discover(GATEWAY)).found
        assert found.observed.ending, "its stop was decided, whatever the store says"
        second = group.create_task(after.stop(found.handle, grace=GRACE))
        await eventually(
            lambda: after.automation(key().service, key().instance).current_task is not None,
            "it to be followed",
        )
        await machine.crash(started.handle)
        held.finish()
    assert second.done()
    assert sum(task.asked["message"] == f"{key()} stop" for task in machine.tasks()) == 1
    await before.aclose()
    await after.aclose()


# -- credentials and addresses ---------------------------------------------------------------------


async def test_a_name_and_password_log_in_and_again_when_the_session_has_ended(
    machine: SemaphoreMachine,
) -> None:
    login: dict[str, object] = {"api_key": "", "username": "gateway", "password": "gateway"}
    engine = machine.engine(**login)
    held = Held()
    machine.server.plays["start"] = held
    async with asyncio.TaskGroup() as group:
        began = group.create_task(start(engine, machine, None, **login))
        await eventually(lambda: len(held.runs) == 1, "the task to run")
        machine.server.expire_sessions()
        held.finish()
    assert len(machine.server.called("POST", "/auth/login")) == 2
    await engine.stop(began.result().handle, grace=GRACE)
    await engine.aclose()


@pytest.mark.parametrize(
    ("options", "said", "remedy"),
    [
        ({"api_key": "wrong"}, "semaphore_api_key", "SEMAPHORE_API_KEY"),
        ({"api_key": ""}, "semaphore_api_key is not set", "SEMAPHORE_API_KEY"),
        (
            {"api_key": "", "username": "gateway", "password": "no"},
            "refuses the login of 'gateway'",
            "semaphore_password",
        ),
        (
            {"start_template": "strat"},
            "no template 'strat' (semaphore_start_template_id). There are:",
            "id",
        ),
        ({"stop_template": 99}, "no template 99 (semaphore_stop_template_id)", "semaphore_stop_template_id"),
        ({"stop_template": "start"}, "is to start and to stop", "semaphore_stop_template_id"),
        ({"project": "hestai"}, "no project 'hestai' (semaphore_project)", "semaphore_project"),
        ({"project": 99}, "no project 99", "semaphore_project"),
    ],
)
async def test_bad_input_names_the_setting_and_what_there_is(
    engine: SemaphoreEngine, machine: SemaphoreMachine, options: dict[str, object], said: str, remedy: str
) -> None:
    report = RecordingReport()
    error = await failing(engine, machine, report, **options)
    assert isinstance(error, EngineRefused)
    assert error.permanent
    assert said in error.detail
    assert remedy in error.remedy
    assert (report.handles, machine.tasks()) == ([], [])


async def test_two_templates_of_one_name_are_no_choice(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    world, project = machine.server.world, machine.scene.project
    world.add_thing(project, "templates", dict(project.of("templates")[machine.scene.templates["stop"]]))
    error = await failing(engine, machine)
    assert "2 templates named 'stop'" in error.detail
    assert "one of these ids" in error.remedy


async def test_a_web_page_instead_of_json_is_a_wrong_path(machine: SemaphoreMachine) -> None:
    machine.server.settings.web_root = "/semaphore"
    wrong = machine.server.url.removesuffix("/semaphore")
    engine = machine.engine()
    error = await failing(engine, machine, base_url=wrong)
    assert isinstance(error, EngineRefused)
    assert "semaphore_base_url" in error.detail
    assert "path prefix" in error.remedy
    started = await start(engine, machine)
    await engine.stop(started.handle, grace=GRACE)
    await engine.aclose()


async def test_an_answer_without_end_is_refused_with_its_limit(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    fault = machine.server.faults.add(Fault(Kind.ENDLESS, "GET", r"/templates$", times=None))
    error = await failing(engine, machine)
    assert isinstance(error, EngineRefused)
    assert "/templates with more than 16 MiB" in error.detail
    assert "semaphore_base_url" in error.remedy
    machine.server.faults.lift(fault)
    started = await start(engine, machine)
    await engine.stop(started.handle, grace=GRACE)


async def test_output_that_is_too_long_to_be_read_is_said_once_and_fails_nothing(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    machine.server.faults.add(Fault(Kind.ENDLESS, "GET", r"/output$", times=None))
    report = RecordingReport()
    started = await start(engine, machine, report)
    assert len([line for line in report.lines if "more than 16 MiB" in line]) == 1
    await engine.stop(started.handle, grace=GRACE)


async def test_nobody_at_the_address_is_unavailable_and_nothing_was_sent(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    await machine.server.go_down()
    error = await failing(engine, machine)
    assert isinstance(error, EngineUnavailable)
    assert not error.sent
    assert "curl" in error.remedy
    await machine.server.come_up()


# -- tasks that do not do what they should ---------------------------------------------------------


@BOTH
async def test_a_task_that_hangs_is_stopped_after_its_limit_and_its_lines_are_told(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    machine.server.plays["start"] = hangs("waiting for the licence server")
    error = await failing(engine, machine, task_timeout=0.5)
    assert isinstance(error, StartFailed)
    assert error.cause == "timeout"
    assert "semaphore_task_timeout" in error.detail
    assert "waiting for the licence server" in error.tail
    assert machine.server.world.with_status(Status.RUNNING) == []


@BOTH
async def test_a_task_that_waits_for_confirmation_is_refused_and_ended(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    machine.server.plays["start"] = asks("Plan: 3 to add")
    error = await failing(engine, machine)
    assert isinstance(error, EngineRefused)
    assert "waits for somebody to confirm" in error.detail
    assert machine.server.world.with_status(Status.WAITING_CONFIRMATION) == []


@BOTH
async def test_a_task_that_somebody_stops_by_hand_is_told_so(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    held = Held()
    machine.server.plays["start"] = held
    async with asyncio.TaskGroup() as group:
        began = group.create_task(failing(engine, machine))
        await eventually(lambda: len(held.runs) == 1, "the task to run")
        machine.server.queue.stop(held.runs[0].task, force=False)
    assert isinstance(began.result(), StartFailed)


async def test_a_template_without_a_variable_group_gets_no_variables_and_it_is_said(tmp_path: Path) -> None:
    """Sending any would end in a 500 and a broken record (semaphore-api.md, trap 1)."""
    async with SemaphoreMachine(V2_16, tmp_path, group=False) as machine:
        machine.server.plays["start"] = succeeds("ok")
        engine = machine.engine()
        report = RecordingReport()
        await start(engine, machine, report)
        assert any("variable group" in line for line in report.lines)
        assert "environment" not in machine.server.called("POST", TASKS)[0].body
        await engine.aclose()


async def test_without_events_looking_is_enough(engine: SemaphoreEngine, machine: SemaphoreMachine) -> None:
    machine.server.faults.add(Fault(Kind.STATUS, "GET", r"/ws$", times=None))
    report = RecordingReport()
    started = await start(engine, machine, report)
    assert "hello" in report.lines
    await engine.stop(started.handle, grace=GRACE)


async def test_ids_that_count_down_mislead_nobody(tmp_path: Path) -> None:
    async with SemaphoreMachine(V2_10, tmp_path) as machine:
        engine = machine.engine()
        first = await start(engine, machine)
        await engine.stop(first.handle, grace=GRACE)
        second = await start(engine, machine)
        assert second.handle["task"] < first.handle["task"]
        assert (await engine.inspect(second.handle)).presence is Presence.RUNNING
        handle: Handle = second.handle
        await engine.stop(handle, grace=GRACE)
        await engine.aclose()


async def test_automation_tells_the_task_under_way_and_the_last_one(
    engine: SemaphoreEngine, machine: SemaphoreMachine
) -> None:
    held, name = Held(), key()
    machine.server.plays["start"] = held
    async with asyncio.TaskGroup() as group:
        began = group.create_task(start(engine, machine))
        await eventually(lambda: len(held.runs) == 1, "the task to run")
        await eventually(
            lambda: (
                (task := engine.automation(name.service, name.instance).current_task) is not None
                and task.status == "running"
            ),
            "it to be seen",
        )
        held.finish()
    seen = engine.automation(name.service, name.instance)
    assert seen.provider == "semaphore"
    assert seen.current_task is None
    assert seen.last_task is not None
    assert (seen.last_task.task_id, seen.last_task.status) == (str(began.result().handle["task"]), "success")
