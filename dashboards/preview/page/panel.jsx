// One panel: its frame and title, and in it what its type asks for. Lines and single numbers are Grafana's own components;
// heat maps and states, which its library doesn't have, are drawn here after its look.

import { Heatmap } from './heatmap.jsx';
import { Lines } from './lines.jsx';
import { States } from './states.jsx';
import { Stat } from './stat.jsx';

const TYPES = { timeseries: Lines, stat: Stat, heatmap: Heatmap, 'state-timeline': States };
const HEAD = 32;
const PADDING = 8;

export function Panel(props) {
    const { panel, frames, wrong, width, height, theme } = props;
    const Look = TYPES[panel.type];
    if (!Look) throw new Error(`nobody draws panels of type ${panel.type}`);
    const frame = {
        width,
        height,
        background: theme.colors.background.primary,
        border: `1px solid ${theme.components.panel.borderColor}`,
        borderRadius: 2,
        overflow: 'hidden',
    };
    const title = { height: HEAD, padding: '6px 8px', fontWeight: 500, whiteSpace: 'nowrap', overflow: 'hidden', textOverflow: 'ellipsis' };
    return (
        <div style={frame}>
            <div style={title}>{panel.title}</div>
            <div style={{ padding: `0 ${PADDING}px ${PADDING}px` }}>
                {frames.length === 0 ? (
                    <div style={{ textAlign: 'center', color: theme.colors.text.secondary }}>{wrong}</div>
                ) : (
                    <Look {...props} width={width - 2 * PADDING - 2} height={height - HEAD - PADDING - 2} />
                )}
            </div>
        </div>
    );
}
