// A histogram over time: a row for each bucket, darker where more fell into it.

import { formattedValueToString, getValueFormat } from '@grafana/data';
import { interpolateOranges } from 'd3-scale-chromatic';
import { TimeAxis } from './axis.jsx';

const LEFT = 64;
const BOTTOM = 20;

export function Heatmap({ panel, frames, width, height, theme, view }) {
    const rows = buckets(frames, panel.options.filterValues.le);
    const most = Math.max(...rows.flatMap(({ values }) => values));
    const wide = width - LEFT;
    const high = (height - BOTTOM) / rows.length;
    const { times } = frames[0];
    const step = ((times[1] - times[0]) / 1000 / (view.end - view.start)) * wide;
    // Where cells are narrow, gaps would be most of the picture.
    const gap = step > 4 ? 1 : 0;
    const { exponent } = panel.options.color;
    const shade = (value) => {
        const share = (value / most) ** exponent;
        return interpolateOranges(theme.isDark ? 1 - share : share);
    };
    const unit = getValueFormat(panel.options.yAxis.unit);
    const every = Math.ceil(14 / high);
    return (
        <svg width={width} height={height} style={{ display: 'block' }}>
            {rows.map(({ le, values }, row) => {
                const y = height - BOTTOM - (row + 1) * high;
                const label = le === Infinity ? '+Inf' : formattedValueToString(unit(le));
                return (
                    <g key={le}>
                        {row % every === 0 && (
                            <text x={LEFT - 8} y={y + high / 2 + 4} fontSize="12" textAnchor="end" fill={theme.colors.text.primary}>
                                {label}
                            </text>
                        )}
                        {values.map((value, n) => {
                            if (!value) return null;
                            const x = LEFT + ((times[n] / 1000 - view.start) / (view.end - view.start)) * wide - step;
                            const from = Math.max(x, LEFT);
                            const w = Math.max(x + step - from - gap, 0) + (gap ? 0 : 0.5);
                            return <rect key={n} x={from} y={y} width={w} height={high - 1} fill={shade(value)} />;
                        })}
                    </g>
                );
            })}
            <TimeAxis view={view} left={LEFT} width={wide} top={height - BOTTOM} theme={theme} />
        </svg>
    );
}

/** Prometheus' buckets hold all that is smaller, too; here each holds its own. Empty ones at both ends are left out. */
function buckets(frames, tiny) {
    const bound = ({ labels }) => (labels.le === '+Inf' ? Infinity : Number(labels.le));
    const sorted = [...frames].sort((a, b) => bound(a) - bound(b));
    const rows = sorted.map((frame, n) => ({
        le: bound(frame),
        values: frame.values.map((value, at) => {
            const own = value - (n > 0 ? sorted[n - 1].values[at] : 0);
            return own > tiny ? own : 0;
        }),
    }));
    const used = (row) => row.values.some((value) => value > 0);
    return rows.slice(rows.findIndex(used), rows.findLastIndex(used) + 1);
}
