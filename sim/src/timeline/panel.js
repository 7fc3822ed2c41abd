// What stands beside the picture: broken promises, tasks, and the story of one. Everything that a run says is put in as text.

const byId = (id) => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Tasks of which a promise was broken. */
const hurt = new Set(run.violations.map((broken) => broken.task).filter((task) => task !== null));

function mark(task) {
  if (hurt.has(task)) return 'bad';
  const { fate } = run.tasks[task];
  return fate === 'completed' ? 'done' : fate === 'open' || fate === 'not confirmed' ? 'open' : 'other';
}

function fillHeader() {
  byId('title').textContent = run.title;
  byId('about').textContent = `${run.about}; ${seconds(run.end, 1)} of virtual time in the ${run.world} world, case ${run.hash}`;
  const broken = run.violations.length;
  const verdict = byId('verdict');
  verdict.textContent = broken ? `${broken} broken ${broken === 1 ? 'promise' : 'promises'}` : 'every promise was kept';
  verdict.classList.toggle('bad', broken > 0);
  canvas.setAttribute('aria-label', `${run.hosts.length} hosts, ${run.tasks.length} tasks, ${run.faults.length} faults over ${seconds(run.end, 1)}`);
}

/** Lists broken promises, as long as somebody can read them. */
function fillViolations(choose) {
  byId('promises').hidden = run.violations.length === 0;
  for (const broken of run.violations.slice(0, 50)) {
    const item = element('li');
    const of = broken.task === null ? '' : ` of ${run.tasks[broken.task].id}`;
    item.append(element('b', '', `${broken.oracle}${of}`), ` at ${seconds(broken.at)}: ${broken.detail}`);
    item.addEventListener('click', () => choose(broken.task, broken.at));
    byId('violations').append(item);
  }
  if (run.violations.length > 50) byId('violations').append(element('li', '', `and ${run.violations.length - 50} more`));
}

/** Those that the filter lets through, with the hurt ones first. */
function chosenTasks() {
  const words = byId('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  const only = byId('only').value;
  const fits = (task, place) => {
    if (only === 'broken' && !hurt.has(place)) return false;
    if (only === 'again' && task.attempts < 2) return false;
    if (only === 'other' && task.fate === 'completed') return false;
    if (words.length === 0) return true;
    const text = `${task.id} ${task.fate} ${task.about} ${task.story.map(([, , what]) => what).join(' ')}`.toLowerCase();
    return words.every((word) => (/^t\d+$/.test(word) ? task.id === word : text.includes(word)));
  };
  const places = run.tasks.map((task, place) => place).filter((place) => fits(run.tasks[place], place));
  return [...places.filter((place) => hurt.has(place)), ...places.filter((place) => !hurt.has(place))];
}

let listed = [];
function fillTasks(choose) {
  listed = chosenTasks();
  const items = listed.map((place) => {
    const task = run.tasks[place];
    const item = element('li');
    item.role = 'option';
    item.dataset.place = place;
    const tries = task.attempts === 1 ? '1 attempt' : `${task.attempts} attempts`;
    item.append(element('i', mark(place)), element('span', '', task.id), element('span', '', task.fate), element('span', '', tries));
    item.addEventListener('click', () => choose(place));
    return item;
  });
  byId('tasks').replaceChildren(...items);
  markTask();
}

function markTask() {
  for (const item of byId('tasks').children) {
    const chosen = Number(item.dataset.place) === look.task;
    item.setAttribute('aria-selected', String(chosen));
    if (chosen) item.scrollIntoView({ block: 'nearest' });
  }
}

function fillStory(show, point) {
  const task = look.task === null ? null : run.tasks[look.task];
  byId('story-title').textContent = task ? `Story of ${task.id}: ${task.fate}` : 'Story';
  byId('story-about').textContent = task ? task.about : 'Choose a task: from the list, or by a click on one of its bars.';
  const lines = task ? task.story.map(([when, host, what]) => ({ when, host: run.hosts[host].name, what, bad: false })) : [];
  for (const broken of run.violations) {
    if (task && broken.task === look.task) lines.push({ when: broken.at, host: 'judge', what: `${broken.oracle}: ${broken.detail}`, bad: true });
  }
  lines.sort((one, other) => one.when - other.when);
  const items = lines.map(({ when, host, what, bad }) => {
    const item = element('li', bad ? 'bad' : '');
    item.append(element('time', '', (when / 1e6).toFixed(6)), element('span', 'host', host), element('span', 'what', what));
    item.addEventListener('click', () => show(when));
    item.addEventListener('mouseenter', () => point(when));
    item.addEventListener('mouseleave', () => point(null));
    return item;
  });
  byId('story').replaceChildren(...items);
}

