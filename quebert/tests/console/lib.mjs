// What all tests of the console share: a browser, pages that notice whatever goes wrong in them, and checks of what every
// view owes its readers. The checks know nothing of single views.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, afterEach } from "node:test";
import { SEED, slowPage, stepMs } from "./jitter.mjs";

const require = createRequire(new URL("../../../target/peers/", import.meta.url));
const { chromium } = require("playwright-core");

/** Far beyond what anything here takes: a limit for tests that fail. */
export const LONG = 60_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-lcd-text"],
  timeout: LONG,
  slowMo: stepMs(),
});
after(() => browser.close());

/** The pages that no test has closed. */
const open = new Set();
// A test that failed leaves its pages: what stands on them and what they said belongs to the report.
afterEach(async () => {
  for (const page of open) await report(page);
});

/** A page of its own, with what went wrong in it in `page.faults`. With `clock` its time can be put forward. */
export async function openPage(url, { width = 1280, height = 900, scheme = "light", clock = false, ...more } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, ...more });
  context.setDefaultTimeout(LONG);
  const page = await context.newPage();
  open.add(page);
  if (clock) await page.clock.install();
  await slowPage(page, { clock });
  page.faults = [];
  page.heard = [];
  page.on("requestfailed", (request) => page.heard.push(`${request.method()} ${request.url()}: ${request.failure()?.errorText}`));
  page.on("pageerror", (error) => page.faults.push(`error: ${error.stack}`));
  page.on("dialog", (dialog) => (page.faults.push(`a dialog of the browser: ${dialog.message()}`), dialog.dismiss()));
  page.on("console", (message) => {
    page.heard.push(`${message.type()}: ${message.text()}`);
    const expected = /Failed to load resource|net::ERR_/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !expected) page.faults.push(`console: ${message.text()}`);
  });
  await page.exposeFunction("reportViolation", (what) => page.faults.push(`policy: ${what}`));
  await page.addInitScript(() => {
    const tell = ({ violatedDirective, blockedURI, sample }) => window.reportViolation(`${violatedDirective} ${blockedURI} ${sample}`);
    document.addEventListener("securitypolicyviolation", tell);
  });
  await page.goto(url);
  return page;
}

/** Tells what stands on a page and what it said, as comments of the report, and ends it. */
async function report(page) {
  open.delete(page);
  const shown = await page.locator("body").ariaSnapshot({ timeout: 10_000 }).catch((error) => `It can't be told: ${error.message}`);
  const parts = { "went wrong": page.faults, "was heard": page.heard.slice(-40), "was shown": shown.split("\n").slice(0, 200) };
  const lines = Object.entries(parts).flatMap(([name, list]) => [`${name}:`, ...(list.length ? list : ["nothing"]).map((line) => `  ${line}`)]);
  tell([`left open at ${page.url()}${SEED === null ? "" : ` with CONSOLE_JITTER=${SEED}`}`, ...lines].join("\n"));
  await page.context().close().catch(() => {});
}

/** Adds to the report something that is no result. */
export const tell = (words) => process.stdout.write(`${words}\n`.replaceAll(/^/gm, "# ").replace(/# $/, ""));

/** Ends a page, and fails if anything went wrong in it. */
export async function close(page) {
  // Whatever is about to be told is told first.
  const ran = await page.evaluate(() => new Promise((done) => setTimeout(() => done(window.__ran))));
  open.delete(page);
  await page.context().close();
  assert.equal(ran, undefined, "something of a task's content ran");
  assert.deepEqual(page.faults, []);
}

/** Leads an open page to another address of the console, and returns when its view is there: before that, the last one is. */
export async function go(page, hash) {
  await page.evaluate((wanted) => new Promise((done) => {
    if (new URL(wanted, location.href).hash === location.hash) return done();
    // The console listens, too, and was the first to.
    window.addEventListener("hashchange", () => done(), { once: true });
    location.hash = wanted;
  }), hash);
}

/** Gives a page another width, and returns when it has it. */
export async function widen(page, width) {
  await page.setViewportSize({ width, height: 900 });
  await eventually(`a width of ${width} px`, () => page.evaluate((wanted) => window.innerWidth === wanted, width));
}

/** Waits until `check()` returns something true, and returns that. */
export async function eventually(what, check) {
  const end = Date.now() + LONG;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert.ok(Date.now() < end, `in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** Fails if the page can be scrolled sideways, and names what sticks out. */
export async function fitsSideways(page, where) {
  const wide = await page.evaluate(() => {
    const limit = document.documentElement.clientWidth;
    const out = [...document.body.querySelectorAll("*")].filter((element) => {
      const { right, width, height } = element.getBoundingClientRect();
      return width > 1 && height > 1 && right > limit + 0.5 && !element.closest("pre, .skip, h1.hidden");
    });
    const scrolls = document.documentElement.scrollWidth > limit;
    return [scrolls ? "the page scrolls sideways" : "", ...out.map((element) => `${element.tagName}.${element.className} ${element.textContent.slice(0, 40)}`)].filter(Boolean);
  });
  assert.deepEqual(wide, [], where);
}

/** What can be checked of accessibility without an eye: names, roles, headings, references, contrast, sizes. */
export async function accessible(page, where) {
  const faults = [...(await names(page)), ...(await page.evaluate(structure)), ...(await page.evaluate(contrast))];
  assert.deepEqual(faults, [], where);
}

/** Everything that takes the focus has a name, as the browser's own tree for screen readers has it. */
async function names(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  await session.detach();
  const focusable = ({ ignored, properties = [] }) => !ignored && properties.some(({ name, value }) => name === "focusable" && value.value);
  const nameless = nodes.filter((node) => focusable(node) && !["RootWebArea", "main"].includes(node.role?.value) && !node.name?.value?.trim());
  return nameless.map((node) => `a ${node.role?.value} without a name (node ${node.backendDOMNodeId})`);
}

function structure() {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (element) => element.checkVisibility() && element.getBoundingClientRect().width > 1;
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title) faults.push("no title");
  for (const landmark of ["main", "header", "nav"]) if (all(landmark).length !== 1) faults.push(`${all(landmark).length} of ${landmark}`);
  if (all("h1").length !== 1) faults.push(`${all("h1").length} of h1`);
  let level = 0;
  for (const heading of all("main h1, main h2, main h3, main h4").filter((one) => one.checkVisibility())) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1) faults.push(`${heading.tagName} after H${level}: ${heading.textContent}`);
    level = now;
  }
  const ids = all("[id]").map(({ id }) => id);
  for (const id of ids.filter((one, i) => ids.indexOf(one) !== i)) faults.push(`two of #${id}`);
  for (const name of ["for", "aria-labelledby", "aria-describedby", "aria-controls"]) {
    for (const element of all(`[${name}]`)) {
      for (const id of element.getAttribute(name).split(/\s+/)) if (!document.getElementById(id)) faults.push(`${name}=${id} leads nowhere`);
    }
  }
  for (const element of all("button, input, select, textarea").filter(seen)) {
    const { width, height } = element.getBoundingClientRect();
    const target = element.closest("label")?.getBoundingClientRect() ?? { width, height };
    const small = Math.max(width, target.width) < 24 || Math.max(height, target.height) < 24;
    // A small target is fine with enough room around it; a checkbox alone in its cell has that.
    if (small && element.type !== "checkbox") faults.push(`too small: ${element.outerHTML.slice(0, 80)} ${width}x${height}`);
  }
  for (const element of all("[style]").filter((one) => !one.matches(".bar i"))) faults.push(`styled by attribute: ${element.outerHTML.slice(0, 80)}`);
  for (const element of all("a")) if (!element.getAttribute("href")?.startsWith("#")) faults.push(`leads out of the page: ${element.href}`);
  return faults;
}

/** WCAG 2.2, 1.4.3: contrast of each piece of text against the ground it stands on. */
function contrast() {
  const parse = (color) => (/^rgba?\(([^)]*)\)$/.exec(color)?.[1].split(/[ ,/]+/).map(Number)) ?? [NaN, NaN, NaN];
  const linear = (c) => (c <= 0.04045 * 255 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === undefined || color[3] === 1) return color;
      if (color[3] !== 0) throw new Error(`a ground that shines through: ${at.outerHTML.slice(0, 80)}`);
    }
    return [255, 255, 255];
  };
  const faults = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest("option, noscript, script, .skip")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(parse(style.color)), luminance(ground(element))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (!(ratio >= (large ? 3 : 4.5))) faults.add(`contrast ${ratio.toFixed(2)} of “${node.data.slice(0, 30)}” in ${element.tagName}.${element.className}`);
  }
  return [...faults];
}

/** Goes around the page with Tab. Returns what had the focus, in order; fails where that can't be seen. */
export async function tabAround(page) {
  await page.evaluate(() => {
    // From the very top, wherever the focus was.
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute("tabindex");
    window.__tabbed = new Map();
  });
  const order = [];
  for (let i = 0; i < 400; i += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const before = window.__tabbed.has(element);
      window.__tabbed.set(element, true);
      const style = getComputedStyle(element);
      const { width, height } = element.getBoundingClientRect();
      return { before, seen: width > 1 && height > 1 && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, name: `${element.tagName} ${element.ariaLabel ?? element.textContent.slice(0, 30)}` };
    });
    if (!at || at.before) break;
    assert.ok(at.seen, `the focus can't be seen on ${at.name}`);
    order.push(at.name);
  }
  const missed = await page.evaluate(() => {
    const all = [...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex='0']")];
    return all.filter((one) => one.checkVisibility() && !window.__tabbed.has(one)).map((one) => one.outerHTML.slice(0, 100));
  });
  assert.deepEqual(missed, [], `not reached with Tab, which led to ${order.join(", ")}`);
  return order;
}
