#!/usr/bin/env node
// Draws Quebert's dashboards from a Prometheus, with Grafana's own components in headless Chromium: a picture for each dashboard
// and theme. It ends with 1 if a query fails or a panel has nothing to show. Nothing is started or stopped here but the browser.

import { build } from 'esbuild';
import { mkdir, readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { Prometheus, answered, marks, variables } from './ask.mjs';

const USAGE = `usage: draw.mjs --prometheus URL [options]
  --from TIME      start: now-5m, or seconds since 1970 (default now-1h)
  --to TIME        end (default now)
  --interval 15s   how often Prometheus scrapes, as Grafana's data source would know
  --boards NAMES   overview,queue,... (default: all)
  --theme NAMES    light,dark (default: both)
  --var NAME=VALUE what a variable stands for (default: all); may be given more than once
  --excuse REGEX   metrics that are not there: panels of nothing else are left out
  --width PIXELS   how wide a picture is (default 1600)
  --out FOLDER     where pictures go (default .)`;

const here = import.meta.dirname;
const { values: args } = parseArgs({
    options: {
        prometheus: { type: 'string' },
        from: { type: 'string', default: 'now-1h' },
        to: { type: 'string', default: 'now' },
        interval: { type: 'string', default: '15s' },
        boards: { type: 'string' },
        theme: { type: 'string', default: 'light,dark' },
        var: { type: 'string', multiple: true, default: [] },
        excuse: { type: 'string', default: '^$' },
        width: { type: 'string', default: '1600' },
        out: { type: 'string', default: '.' },
        help: { type: 'boolean', short: 'h' },
    },
});
if (args.help || !args.prometheus) {
    console.log(USAGE);
    process.exit(args.help ? 0 : 2);
}

const wrong = [];
const prometheus = new Prometheus(args.prometheus.replace(/\/$/, ''), {
    start: time(args.from),
    end: time(args.to),
    interval: seconds(args.interval),
});
const chosen = Object.fromEntries(args.var.map((text) => text.split(/=(.*)/s).slice(0, 2)));
await mkdir(args.out, { recursive: true });
// Debian's. As root it has no sandbox, and it sees nothing here but our own page.
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-lcd-text'],
});
try {
    const script = await bundle();
    for (const board of await boards()) {
        const view = await asked(board);
        for (const theme of args.theme.split(',')) await picture(script, board, { ...view, theme });
    }
} finally {
    await browser.close();
}
wrong.forEach((line) => console.error(`wrong: ${line}`));
process.exit(wrong.length === 0 ? 0 : 1);

function seconds(text) {
    const [, number, unit] = /^(\d+)([smhd])$/.exec(text) ?? fail(`no duration: ${text}`);
    return Number(number) * { s: 1, m: 60, h: 3600, d: 86400 }[unit];
}

function time(text) {
    if (/^\d+$/.test(text)) return Number(text);
    const [, , ago] = /^now(-(\w+))?$/.exec(text) ?? fail(`no time: ${text}`);
    return Date.now() / 1000 - (ago ? seconds(ago) : 0);
}

function fail(why) {
    throw new Error(why);
}

async function boards() {
    const folder = path.join(here, '../grafana');
    const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
    const wanted = args.boards?.split(',').map((name) => `quebert-${name}.json`) ?? names;
    return Promise.all(wanted.map(async (name) => JSON.parse(await readFile(path.join(folder, name), 'utf8'))));
}

/** The dashboard with all answers. */
async function asked(board) {
    const words = await variables(board, prometheus, chosen);
    const excused = new RegExp(args.excuse);
    const panels = [];
    for (const panel of board.panels) {
        const answer = await answered(panel, prometheus, words, Math.round((panel.gridPos.w / 24) * Number(args.width)));
        if (answer.wrong === 'no data' && panel.targets.every(({ expr }) => excused.test(expr))) continue;
        if (answer.wrong) wrong.push(`${board.title}, ${panel.title}: ${answer.wrong}`);
        panels.push(answer);
    }
    const { start, end } = prometheus;
    return { title: board.title, words, panels, marks: await marks(board, prometheus, words), start, end };
}

async function bundle() {
    const { outputFiles } = await build({
        entryPoints: [path.join(here, 'page/main.jsx')],
        bundle: true,
        write: false,
        format: 'iife',
        jsx: 'automatic',
        minify: true,
        logLevel: 'error',
        logLimit: 5,
        outdir: 'out',
        // Fonts of parts that nobody sees here.
        loader: { '.woff2': 'dataurl', '.ttf': 'empty' },
        define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
    });
    const text = (end) => outputFiles.find(({ path }) => path.endsWith(end))?.text ?? '';
    return { code: text('.js'), style: text('.css') };
}

async function picture(script, board, view) {
    const page = await browser.newPage({ viewport: { width: Number(args.width), height: 900 } });
    const name = `${board.uid}-${view.theme}.png`;
    page.on('pageerror', (e) => wrong.push(`${name}: ${e.message}`));
    // An origin of its own, which is never asked: without one there is no storage, and the components look for it.
    await page.route('**', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><body></body>' }));
    await page.goto('http://preview.invalid/');
    await page.evaluate((view) => void (window.view = view), view);
    await page.addStyleTag({ content: script.style });
    await page.addScriptTag({ content: script.code });
    const drawn = page.waitForFunction(() => window.drawn === true, null, { timeout: 60_000 }).then(() => true);
    if (await drawn.catch(() => false)) {
        await page.screenshot({ path: path.join(args.out, name), fullPage: true });
        console.log(path.join(args.out, name));
    } else {
        wrong.push(`${name}: not drawn`);
    }
    await page.close();
}
