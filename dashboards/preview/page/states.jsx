// States over time: a row for each series, a bar as long as a state lasts.

import { dataFrames } from './fields.js';
import { TimeAxis } from './axis.jsx';

const BOTTOM = 40;
/** Of Inter at 12 pixels. */
const LETTER = 6.6;

export function States({ panel, frames, width, height, theme, view }) {
    const rows = dataFrames(panel, frames, theme);
    const left = Math.min(Math.max(...rows.map(({ name }) => name.length)) * LETTER + 16, width / 2);
    const wide = width - left;
    const high = (height - BOTTOM) / rows.length;
    const bar = high * panel.options.rowHeight;
    const place = (ms) => left + Math.max(0, (ms / 1000 - view.start) / (view.end - view.start)) * wide;
    return (
        <svg width={width} height={height} style={{ display: 'block' }}>
            {rows.map(({ name, fields: [time, value] }, row) => (
                <g key={name}>
                    <text x={left - 8} y={(row + 0.5) * high + 4} fontSize="12" textAnchor="end" fill={theme.colors.text.primary}>
                        {name}
                    </text>
                    {spans(time.values, value.values).map(({ from, to, value: state }) => {
                        const { text, color } = value.display(state);
                        const [x, end] = [place(from), Math.min(place(to), width)];
                        return (
                            <g key={from}>
                                <rect x={x} y={(row + 0.5) * high - bar / 2} width={end - x} height={bar} fill={color} fillOpacity="0.8" />
                                {end - x > text.length * LETTER + 12 && (
                                    <text x={x + 6} y={(row + 0.5) * high + 4} fontSize="12" fill={theme.colors.getContrastText(color)}>
                                        {text}
                                    </text>
                                )}
                            </g>
                        );
                    })}
                </g>
            ))}
            <TimeAxis view={view} left={left} width={wide} top={height - BOTTOM} theme={theme} />
            <Legend panel={panel} y={height - 12} theme={theme} />
        </svg>
    );
}

function spans(times, values) {
    const step = times[1] - times[0];
    const found = [];
    values.forEach((value, n) => {
        const last = found.at(-1);
        if (value === null) return;
        if (last?.value === value && last.to === times[n]) last.to += step;
        else found.push({ value, from: times[n], to: times[n] + step });
    });
    return found;
}

function Legend({ panel, y, theme }) {
    const states = panel.fieldConfig.defaults.mappings.flatMap(({ options }) => Object.values(options));
    let x = 0;
    return states.map(({ text, color }) => {
        const at = x;
        x += text.length * LETTER + 32;
        return (
            <g key={text}>
                <rect x={at} y={y - 2} width="14" height="4" fill={theme.visualization.getColorByName(color)} />
                <text x={at + 20} y={y + 4} fontSize="12" fill={theme.colors.text.primary}>
                    {text}
                </text>
            </g>
        );
    });
}
