// The page of one dashboard: its title, its variables, and its panels where they stand in Grafana's grid. It sets
// `window.drawn` when all is there to be seen.

import '@fontsource-variable/inter';
import { createTheme } from '@grafana/data';
import { ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { Panel } from './panel.jsx';

const COLUMNS = 24;
const ROW = 38;
const GAP = 8;
const MARGIN = 16;

const { view } = window;
const theme = createTheme({ colors: { mode: view.theme }, typography: { fontFamily: "'Inter Variable', sans-serif" } });
const style = document.createElement('style');
style.textContent = `
    * { box-sizing: border-box; }
    body { margin: 0; background: ${theme.colors.background.canvas}; color: ${theme.colors.text.primary};
        font: 14px/1.57 ${theme.typography.fontFamily}; -webkit-font-smoothing: antialiased; }
    table { border-collapse: collapse; border-spacing: 0; } button { font: inherit; color: inherit; background: none; border: none; padding: 0; }
    .sr-only { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    th { text-align: inherit; font-weight: 500; }
    .uplot, .uplot * { line-height: 1.5; } .u-wrap { position: relative; } .u-over, .u-under { position: absolute; }
    .uplot canvas { display: block; position: relative; width: 100%; height: 100%; } .u-select, .u-cursor-x, .u-cursor-y, .u-cursor-pt { display: none; }`;
document.head.append(style);

document.fonts.load("14px 'Inter Variable'").then(() => {
    createRoot(document.body).render(
        <ThemeContext.Provider value={theme}>
            <Board />
        </ThemeContext.Provider>,
    );
    // Plots draw themselves in frames of their own.
    setTimeout(() => void (window.drawn = true), 700);
});

function Board() {
    const column = (window.innerWidth - 2 * MARGIN + GAP) / COLUMNS;
    const rows = packed(view.panels);
    const bottom = Math.max(...rows.map(({ y, h }) => y + h));
    return (
        <div style={{ padding: MARGIN }}>
            <Head />
            <div style={{ position: 'relative', height: bottom * ROW - GAP }}>
                {view.panels.map((answer, n) => {
                    const { x, y, w, h } = rows[n];
                    const size = { width: w * column - GAP, height: h * ROW - GAP };
                    return (
                        <div key={answer.panel.id} style={{ position: 'absolute', left: x * column, top: y * ROW, ...size }}>
                            <Panel {...answer} {...size} view={view} theme={theme} />
                        </div>
                    );
                })}
            </div>
        </div>
    );
}

/** Where panels stand: as they say, but moved up where a whole line was left out. */
function packed(panels) {
    const lines = [...new Set(panels.map(({ panel }) => panel.gridPos.y))].sort((a, b) => a - b);
    const tops = new Map();
    let top = 0;
    for (const line of lines) {
        tops.set(line, top);
        top += Math.max(...panels.filter(({ panel }) => panel.gridPos.y === line).map(({ panel }) => panel.gridPos.h));
    }
    return panels.map(({ panel }) => ({ ...panel.gridPos, y: tops.get(panel.gridPos.y) }));
}

function Head() {
    const box = { border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, padding: '3px 8px', fontSize: 12 };
    const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ');
    return (
        <div style={{ display: 'flex', gap: 8, alignItems: 'center', marginBottom: 12 }}>
            <div style={{ fontSize: 18, fontWeight: 500, marginRight: 12 }}>{view.title}</div>
            {Object.entries(view.words).map(([name, value]) => (
                <div key={name} style={box}>
                    <span style={{ color: theme.colors.text.secondary }}>{name}</span> {value === '.+' ? 'All' : value}
                </div>
            ))}
            <div style={{ ...box, marginLeft: 'auto' }}>
                {clock(view.start)} to {clock(view.end)} UTC
            </div>
        </div>
    );
}
