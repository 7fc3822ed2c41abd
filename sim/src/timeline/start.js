// What people do: zoom, move, choose. It starts the page.

/** Nothing shorter than this is looked at, in microseconds. */
const SPAN_MIN = 200;

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

function lookAt(from, to) {
  const slack = run.end * 0.02;
  const span = clamp(to - from, SPAN_MIN, run.end + 2 * slack);
  look.from = clamp(from, -slack, run.end + slack - span);
  look.to = look.from + span;
  redraw();
}

function zoom(times, around = (look.from + look.to) / 2) {
  lookAt(around - (around - look.from) * times, around + (look.to - around) * times);
}

function whole() {
  lookAt(-run.end * 0.005, run.end * 1.01);
}

/** The highlighted task's life, with some room on both sides. */
function toTask() {
  const times = look.task === null ? [] : run.tasks[look.task].story.map(([when]) => when);
  for (const broken of run.violations) if (broken.task === look.task && look.task !== null) times.push(broken.at);
  if (times.length === 0) return whole();
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const room = Math.max((to - from) * 0.06, 5_000);
  lookAt(from - room, to + room);
}

function show(when) {
  const half = Math.min((look.to - look.from) / 2, 250_000);
  lookAt(when - half, when + half);
}

function point(when) {
  look.cursor = when;
  redraw();
}

/** Highlights a task (`null`: none), and looks at `when` if that is out of sight. */
function choose(task, when) {
  look.task = task;
  markTask();
  fillStory(show, point);
  if (when !== undefined && (when < look.from || when > look.to)) show(when);
  const name = task === null ? '' : `#task=${run.tasks[task].id}`;
  if (name !== location.hash) history.replaceState(null, '', `${location.pathname}${location.search}${name}`);
  redraw();
}

/** The task that the page's address names. */
function named() {
  for (const part of [location.hash, location.search]) {
    const id = new URLSearchParams(part.slice(1)).get('task');
    const place = id === null ? -1 : run.tasks.findIndex((task) => task.id === id);
    if (place >= 0) return place;
  }
  return null;
}

function next(step) {
  if (listed.length === 0) return;
  const place = listed.indexOf(look.task);
  choose(listed[(place < 0 && step < 0 ? listed.length : place + step + listed.length) % listed.length]);
  toTask();
}

const KEYS = {
  ArrowLeft: () => lookAt(look.from - (look.to - look.from) / 8, look.to - (look.to - look.from) / 8),
  ArrowRight: () => lookAt(look.from + (look.to - look.from) / 8, look.to + (look.to - look.from) / 8),
  '+': () => zoom(0.7),
  '=': () => zoom(0.7),
  '-': () => zoom(1 / 0.7),
  0: whole,
  t: toTask,
  n: () => next(1),
  p: () => next(-1),
  Escape: () => choose(null),
};
const BUTTONS = { in: KEYS['+'], out: KEYS['-'], task: toTask, all: whole };

function listenToPointer() {
  let drag = null;
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    const sideways = event.shiftKey ? event.deltaY : event.deltaX;
    if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      const shift = (sideways / (width() - LEFT)) * (look.to - look.from);
      lookAt(look.from + shift, look.to + shift);
    } else {
      zoom(Math.exp(clamp(event.deltaY, -240, 240) * 0.0025), at(event.offsetX));
    }
  }, { passive: false });
  canvas.addEventListener('pointerdown', (event) => {
    drag = { x: event.clientX, from: look.from, to: look.to, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drag) return hover(event);
    const moved = event.clientX - drag.x;
    drag.moved ||= Math.abs(moved) > 3;
    canvas.classList.toggle('drag', drag.moved);
    const shift = (moved / (width() - LEFT)) * (drag.to - drag.from);
    if (drag.moved) lookAt(drag.from - shift, drag.to - shift);
  });
  canvas.addEventListener('pointerup', (event) => {
    const hit = drag && !drag.moved ? under(event.offsetX, event.offsetY) : null;
    drag = null;
    canvas.classList.remove('drag');
    if (hit && hit.task !== null) choose(hit.task);
  });
  canvas.addEventListener('dblclick', (event) => zoom(0.4, at(event.offsetX)));
  canvas.addEventListener('pointerleave', () => {
    byId('tip').hidden = true;
    look.hit = null;
    point(null);
  });
}

function hover(event) {
  const hit = under(event.offsetX, event.offsetY);
  const tip = byId('tip');
  tip.hidden = !hit;
  canvas.classList.toggle('hit', Boolean(hit && hit.task !== null));
  if (hit) {
    tip.textContent = hit.text;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  }
  look.hit = hit ? hit.thing : null;
  look.cursor = event.offsetX > LEFT ? at(event.offsetX) : null;
  redraw();
}

function listen() {
  listenToPointer();
  addEventListener('keydown', (event) => {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    const does = KEYS[event.key];
    if (typing || !does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does();
  });
  byId('zoom').addEventListener('click', (event) => BUTTONS[event.target.dataset.do]?.());
  byId('find').addEventListener('input', () => fillTasks(choose));
  byId('only').addEventListener('change', () => fillTasks(choose));
  // At once, since a canvas that changes its size is empty.
  const resized = () => {
    layout();
    draw();
  };
  new ResizeObserver(resized).observe(canvas.parentElement);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    readColours();
    redraw();
  });
  addEventListener('hashchange', () => {
    choose(named());
    toTask();
  });
}

readColours();
packFaults();
fillHeader();
fillViolations((task, when) => choose(task, when));
look.task = named() ?? look.task;
fillTasks(choose);
choose(look.task);
listen();
layout();
if (look.task === null) whole();
else toTask();
draw();
document.documentElement.dataset.ready = 'yes';
