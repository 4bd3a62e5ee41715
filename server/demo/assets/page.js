/* The page around the players: results, one section for each task, provenance. */

const { summary, sheets } = JSON.parse(document.getElementById("data").textContent);
const percent = (share) => `${Math.round(100 * share)} %`;
const seconds = (steps, task) => `${(steps * task.dt_s).toFixed(1)} s`;

function resultRow(task, index) {
  const [low, high] = task.ci95, steps = task.steps_to_success_median, latency = task.plan_latency_ms;
  const bar = `<span class="rate" aria-hidden="true"><i style="left:${100 * low}%;width:${100 * (high - low)}%"></i>` +
    `<b style="left:${100 * task.success_rate}%"></b><u style="left:${100 * task.random_success_rate}%"></u></span>`;
  const cells = [
    ["task", `<a href="#task${index}">${escaped(task.task)}</a><small>${escaped(task.model)}</small>`],
    ["success", `${task.successes} / ${task.episodes}`],
    ["rate, 95 % interval", `${percent(task.success_rate)} <small style="display:inline">(${percent(low)} to ${percent(high)})</small>${bar}`],
    ["random policy", `${task.random_successes} / ${task.episodes}<small>${percent(task.random_success_rate)}</small>`],
    ["median steps to success", steps === null ? "–" : `${steps}<small>${seconds(steps, task)}</small>`],
    ["plan latency p50, p95", `${latency.p50.toFixed(0)}, ${latency.p95.toFixed(0)} ms<small>over HTTP, round trip</small>`],
  ];
  return { head: cells.map(([name]) => `<th scope="col">${name}</th>`).join(""),
    body: `<tr>${cells.map(([name, cell]) => `<td data-label="${name}">${cell}</td>`).join("")}</tr>` };
}

function taskSection(task, index) {
  const every = `${task.control_steps} control steps (${(task.control_steps * task.dt_s).toFixed(2)} s)`;
  const units = task.action_names.map((name, i) => `${name} [${task.action_units[i]}]`).join(", ");
  const section = document.createElement("section");
  section.className = "task";
  section.id = `task${index}`;
  section.innerHTML = `<h2>${escaped(task.task)}</h2>
    <p>Model <code>${escaped(task.model)}</code> (${escaped(task.recipe)}, version ${escaped(task.version)}). A new plan every ${every},
    imagined ${task.horizon} such model steps ahead. Distances are the simulator's, for you: the planner sees pixels only.</p>
    <div class="card player"></div>
    <details><summary>The robot's side of it, in Python</summary><pre>${escaped(`from telos import Controller, HttpPlanner

controller = Controller(HttpPlanner(server_url), model="${task.model}", goal=goal_image)
while True:
    plan = controller.plan(camera.read())     # POST /v1/plan
    robot.execute(plan.next_actions)          # ${units}
    controller.executed(plan.next_actions)`)}</pre></details>`;
  document.getElementById("tasks").append(section);
  new Player(section.querySelector(".player"), task, sheets[index]);
}

function provenance() {
  const versions = Object.entries(summary.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  const { processor, cores, system } = summary.machine;
  const facts = {
    command: `<code>${escaped(summary.command)}</code>`,
    protocol: `${escaped(summary.protocol)}: held-out starts, the goal ${summary.offset_steps === null ? "anywhere" : `${summary.offset_steps} control steps later`}, at most ` +
      `${summary.budget_steps} control steps, seed ${summary.seed}`,
    commit: `<code>${escaped(summary.commit)}</code>`,
    versions: escaped(versions),
    machine: escaped(`${processor}, ${cores} cores, ${system}`),
    weights: summary.tasks.map((task) => `${escaped(task.model)} <code>${task.weights_sha256.slice(0, 16)}</code>`).join("<br>"),
    "it took": `${summary.wall_s} s, server start included`,
  };
  if (summary.models_without_simulated_task.length) facts["not shown"] = escaped(summary.models_without_simulated_task.join(", "));
  document.getElementById("provenance").innerHTML =
    `<dl>${Object.entries(facts).map(([name, text]) => `<dt>${name}</dt><dd>${text}</dd>`).join("")}</dl>`;
}

const rows = summary.tasks.map(resultRow);
document.getElementById("results").innerHTML = `<table><thead><tr>${rows[0].head}</tr></thead><tbody>${rows.map((r) => r.body).join("")}</tbody></table>`;
document.getElementById("results-note").textContent =
  `Dot: success rate; band: its 95 % interval; tick: random policy on the same ${summary.episodes} starts and goals of each task. ` +
  "Each player opens with the first episode that is at least as long as the median one, whether it succeeded or not.";
summary.tasks.forEach(taskSection);
provenance();
