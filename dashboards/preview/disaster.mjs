#!/usr/bin/env node
// Pictures of a simulated disaster: runs the scenario, makes blocks of Prometheus' of what its dispatchers told, works the
// recording rules out over them, and draws. What it starts it ends, by its process; its folder is gone afterwards.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

const [scenario, ...more] = process.argv.slice(2);
if (!scenario || scenario.startsWith('-')) {
    console.error('usage: disaster.mjs SCENARIO [options of draw.mjs]; `cargo sim scenarios` lists them');
    process.exit(2);
}
const root = path.join(import.meta.dirname, '../..');
const folder = mkdtempSync(path.join(tmpdir(), 'quebert-disaster-'));
const [metrics, blocks, config] = ['metrics.om', 'blocks', 'prometheus.yml'].map((name) => path.join(folder, name));
const RULES = path.join(root, 'dashboards/prometheus/quebert-recording.yml');
/** What a process tells of itself, and what the simulated broker does not: the simulation has none of it. */
const EXCUSE = 'process_|quebert_(runtime|hook|store|retry_pending|queue_ready_bytes)';
const BOARDS = 'overview,queue,destination,retries,capacity,runtime';

try {
    process.exitCode = await disaster();
} finally {
    rmSync(folder, { recursive: true, force: true });
}

async function disaster() {
    run('cargo', ['sim', 'run', '--scenario', scenario, '--to-the-end', '--metrics', metrics]);
    run('promtool', ['tsdb', 'create-blocks-from', 'openmetrics', metrics, blocks]);
    const { start, end } = span(readFileSync(metrics, 'utf8'));
    writeFileSync(config, 'global: {}\n');
    // A pass does not see what it makes itself, and there are rules on rules.
    for (let pass = 0; pass < 2; pass += 1) {
        const range = ['--start', String(start), '--end', String(end), '--eval-interval', '30s', '--output-dir', blocks];
        await withPrometheus((url) => run('promtool', ['tsdb', 'create-blocks-from', 'rules', '--url', url, ...range, RULES]));
    }
    const about = ['--from', start, '--to', end, '--interval', '15s', '--boards', BOARDS, '--excuse', EXCUSE].map(String);
    const draw = path.join(import.meta.dirname, 'draw.mjs');
    return withPrometheus((url) => ended(spawn('node', [draw, '--prometheus', url, ...about, ...more], { cwd: root, stdio: 'inherit' })));
}

/** What it says is seen only if it fails. */
function run(command, args) {
    execFileSync(command, args, { cwd: root, stdio: 'pipe', maxBuffer: 2 ** 26 });
}

/** From the first scrape to the last, in seconds. */
function span(text) {
    const times = [...text.matchAll(/^quebert_build_info\{.* (\S+)$/gm)].map(([, time]) => Number(time));
    return { start: Math.min(...times), end: Math.max(...times) };
}

/** Blocks are read when it starts, so each pass has one of its own. It would throw old ones away. */
async function withPrometheus(use) {
    const args = [`--config.file=${config}`, `--storage.tsdb.path=${blocks}`, '--storage.tsdb.retention.time=100y'];
    const child = spawn('prometheus', [...args, '--web.listen-address=127.0.0.1:0'], { stdio: ['ignore', 'ignore', 'pipe'] });
    try {
        return await use(`http://${await listens(child)}`);
    } finally {
        child.kill();
        await ended(child);
    }
}

/** Waits until it can be asked; the log says at which port. */
async function listens(child) {
    const log = [];
    let address;
    for await (const line of createInterface({ input: child.stderr })) {
        log.push(line);
        address ??= /msg="Listening on" address=(\S+)/.exec(line)?.[1];
        if (line.includes('Server is ready')) break;
    }
    if (!address) throw new Error(`Prometheus does not start:\n${log.join('\n')}`);
    // What it still says has to go somewhere.
    child.stderr.resume();
    return address;
}

function ended(child) {
    return child.exitCode !== null ? child.exitCode : new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
}
