// What a Grafana would ask a Prometheus for a dashboard: variables, then the queries of each panel over a range of time. What
// the answers look like is not decided here.

/** A Prometheus over a range of time (seconds since 1970), which is scraped every `interval` seconds. */
export class Prometheus {
    constructor(url, { start, end, interval }) {
        Object.assign(this, { url, start, end, interval });
    }

    /** One question; a refusal is an error with Prometheus' own words. */
    async ask(path, params) {
        const answer = await fetch(`${this.url}${path}?${new URLSearchParams(params)}`);
        const text = await answer.text();
        const body = text.startsWith('{') ? JSON.parse(text) : { status: 'error', error: text };
        if (body.status !== 'success') throw new Error(body.error);
        return body.data;
    }

    /** The series of an expression in steps that suit a panel of so many pixels. */
    async range(expr, width) {
        const step = Math.max(this.interval, Math.ceil((this.end - this.start) / width / this.interval) * this.interval);
        // As Grafana does: whole steps, so that the same query has the same answer a moment later.
        const start = Math.floor(this.start / step) * step;
        const end = Math.floor(this.end / step) * step;
        const rate = Math.max(step + this.interval, 4 * this.interval);
        const query = expr.replaceAll('$__rate_interval', `${rate}s`).replaceAll('$__interval', `${step}s`);
        const { result } = await this.ask('/api/v1/query_range', { query, start, end, step });
        const times = Array.from({ length: Math.round((end - start) / step) + 1 }, (_, n) => (start + n * step) * 1000);
        return { times, series: result.map(({ metric, values }) => ({ labels: metric, values: onGrid(times, values) })) };
    }
}

/** One value for each time, null where there is none: gaps must be seen. */
function onGrid(times, values) {
    const at = new Map(values.map(([time, value]) => [Math.round(time * 1000), Number(value)]));
    return times.map((time) => (Number.isFinite(at.get(time)) ? at.get(time) : null));
}

/** What a dashboard's variables stand for: all of it, or what was `chosen`. Each must have values. */
export async function variables(board, prometheus, chosen) {
    const words = {};
    for (const variable of board.templating.list.filter(({ type }) => type === 'query')) {
        const [, match, label] = /^label_values\((.+), (\w+)\)$/.exec(variable.query.query);
        const params = { 'match[]': fill(match, words), start: prometheus.start, end: prometheus.end };
        const values = await prometheus.ask(`/api/v1/label/${label}/values`, params);
        if (values.length === 0) throw new Error(`${board.title}: variable ${variable.name} has no values`);
        words[variable.name] = chosen[variable.name] ?? variable.allValue;
    }
    return words;
}

function fill(text, words) {
    return text.replace(/\$(\w+)/g, (whole, name) => words[name] ?? whole);
}

/** A panel with its answers: frames of `legend`, `labels`, `times` and `values`, or what went wrong. */
export async function answered(panel, prometheus, words, width) {
    const frames = [];
    try {
        for (const { expr, legendFormat } of panel.targets) {
            const { times, series } = await prometheus.range(fill(expr, words), width);
            for (const { labels, values } of series) {
                const legend = legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');
                frames.push({ legend, labels, times, values });
            }
        }
    } catch (e) {
        return { panel, frames: [], wrong: e.message };
    }
    const seen = frames.some(({ values }) => values.some((value) => value !== null));
    return { panel, frames, wrong: seen ? undefined : 'no data' };
}

/** The marks on the time axis of a dashboard: what happened, and when, in milliseconds. */
export async function marks(board, prometheus, words) {
    const found = [];
    for (const { name, expr, iconColor } of board.annotations.list.filter((annotation) => annotation.expr)) {
        const { series } = await prometheus.range(fill(expr, words), 1000);
        const times = new Set(series.flatMap(({ values }) => values.filter((value) => value !== null)));
        const shown = [...times].filter((time) => time >= prometheus.start * 1000 && time <= prometheus.end * 1000);
        found.push(...shown.map((time) => ({ name, time, color: iconColor })));
    }
    return found;
}
