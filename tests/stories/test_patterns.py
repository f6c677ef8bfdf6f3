"""Shapes of workflows, and the ways to write them, run by a real engine with either runner."""

from __future__ import annotations

from story import Story

FLOWS = {
    "shapes.py": '''
        linear = Workflow("linear")

        @linear.step()
        def first(task):
            return {"word": task.context["word"], "trail": ["first"]}

        @linear.step(depends_on_step="first")
        def second(first):
            return {"trail": [*first["trail"], "second"]}

        @linear.step(depends_on_step="second")
        def third(first, second):                # `first` is no parent but an ancestor
            return {"trail": [*second["trail"], "third"], "word": first["word"]}


        parallel = Workflow("parallel")

        for number in range(5):
            @parallel.step(name=f"branch_{number}")
            def branch(step):
                return step.name

        @parallel.step(depends_on_step=[f"branch_{number}" for number in range(5)])
        def join(sequence):
            return sorted(sequence.result(f"branch_{number}") for number in range(5))


        diamond = Workflow("diamond")

        @diamond.step()
        def top(task):
            return task.context["n"]

        @diamond.step(depends_on_step="top")
        def left(top):
            return top + 1

        @diamond.step(depends_on_step="top")
        def right(top):
            return top * 10

        @diamond.step(depends_on_step=["left", "right"])
        def bottom(left, right, top):
            return {"left": left, "right": right, "top": top}


        # the "complex" shape: two roots, a diamond in one branch, a step that joins branches of unequal length, two leaves
        complex_ = Workflow("complex")
        edges = {
            "validate": [], "load": [], "split": ["validate"], "price": ["split"], "stock": ["split", "load"],
            "merge": ["price", "stock"], "ship": ["merge", "load"], "notify": ["merge"],
        }

        for name, parents in edges.items():
            @complex_.step(name=name, depends_on_step=parents)
            def visit(task, step, sequence):
                note("visit", task.task_id, step.name)
                return sorted({step.name}.union(*(sequence.result(parent) for parent in edges[step.name])))
    ''',
    "forms.py": '''
        class Double(StepHandler):
            def process(self, task, sequence, step):
                return 2 * task.context["n"]


        class Report(StepHandler):
            def process(self, task, sequence, step):
                return {"doubled": self.step_results(sequence, "double"), "label": step.handler_config.get("label")}


        @register_handler("class_form", namespace_name="forms", version="1.2.0")
        class ClassForm(TaskHandler):
            def define_step_templates(self, templates):
                templates.define(name="double", handler_class=Double)
                templates.define(name="dotted", handler_class="forms.Double")
                templates.define(name="nothing", depends_on_step="dotted")
                templates.define(name="report", depends_on_step=["double", "nothing"], handler_class=Report, handler_config={"label": "classes"})

            def schema(self):
                return {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}, "speed": {"default": "normal"}}}
    ''',
    "yaml_form.yaml": '''
        name: yaml_form
        namespace_name: forms
        version: 0.3.0
        step_templates:
          - name: double
            handler_class: forms.Double
          - name: report
            depends_on_step: double
            handler_class: forms.Report
            handler_config: {label: yaml}
    ''',
}  # fmt: skip


def states(outcome: dict) -> set[str]:
    return {step["state"] for step in outcome["steps"].values()}


def test_a_chain_runs_in_order_and_hands_its_results_on(running: Story) -> None:
    outcome = running.run("linear", {"word": "ümlaut"})
    assert outcome["state"] == "completed"
    assert outcome["steps"]["third"]["result"] == {"trail": ["first", "second", "third"], "word": "ümlaut"}


def test_parallel_branches_meet_in_the_join(running: Story) -> None:
    outcome = running.run("parallel")
    assert outcome["state"] == "completed"
    assert outcome["steps"]["join"]["result"] == [f"branch_{number}" for number in range(5)]


def test_a_diamond_joins_both_sides_and_sees_its_top(running: Story) -> None:
    outcome = running.run("diamond", {"n": 4})
    assert outcome["state"] == "completed"
    assert outcome["steps"]["bottom"]["result"] == {"left": 5, "right": 40, "top": 4}


def test_in_the_complex_shape_every_step_runs_once_and_after_its_parents(running: Story) -> None:
    task = running.launch("complex")
    outcome = running.ended(task)
    assert outcome["state"] == "completed"
    assert outcome["steps"]["ship"]["result"] == ["load", "merge", "price", "ship", "split", "stock", "validate"]
    order = [line[2] for line in running.ledger("visit", task)]
    assert len(order) == len(set(order)) == 8
    before = [("validate", "split"), ("split", "price"), ("split", "stock"), ("load", "stock"), ("price", "merge"), ("stock", "merge")]
    assert all(order.index(parent) < order.index(child) for parent, child in [*before, ("merge", "ship"), ("merge", "notify")])


def test_classes_dotted_paths_and_steps_without_a_handler_run(running: Story) -> None:
    outcome = running.run("class_form", {"n": 21}, namespace="forms")
    assert outcome["state"] == "completed"
    assert outcome["version"] == "1.2.0"
    assert outcome["context"] == {"n": 21, "speed": "normal"}
    assert outcome["steps"]["nothing"]["result"] is None
    assert outcome["steps"]["report"]["result"] == {"doubled": 42, "label": "classes"}


def test_a_workflow_in_yaml_runs_like_one_in_python(running: Story) -> None:
    outcome = running.run("yaml_form", {"n": 2}, namespace="forms")
    assert outcome["state"] == "completed"
    assert outcome["steps"]["report"]["result"] == {"doubled": 4, "label": "yaml"}


def test_a_bypassed_step_is_skipped_after_its_parents_and_its_children_go_on(running: Story) -> None:
    outcome = running.run("diamond", {"n": 4}, bypass_steps=("left",))
    assert outcome["state"] == "completed"
    assert outcome["steps"]["left"]["state"] == "skipped"
    assert outcome["steps"]["bottom"]["result"] == {"left": None, "right": 40, "top": 4}


def test_each_step_of_a_good_run_took_one_attempt(running: Story) -> None:
    outcome = running.run("complex")
    assert states(outcome) == {"completed"}
    assert {step["attempts"] for step in outcome["steps"].values()} == {1}
