// Lines over time, with the marks of a dashboard's annotations.

import { dateTime } from '@grafana/data';
import { TimeSeries } from '@grafana/ui';
import { dataFrames } from './fields.js';

export function Lines({ panel, frames, width, height, theme, view }) {
    const [from, to] = [dateTime(view.start * 1000), dateTime(view.end * 1000)];
    return (
        <TimeSeries
            width={width}
            height={height}
            timeZone="utc"
            timeRange={{ from, to, raw: { from, to } }}
            frames={dataFrames(panel, frames, theme)}
            structureRev={1}
            legend={panel.options.legend}
            options={panel.options}
        >
            {(config) => {
                config.addHook('draw', (plot) => mark(plot, view.marks, theme));
                return null;
            }}
        </TimeSeries>
    );
}

/** Dashed lines, as Grafana draws them. */
function mark(plot, marks, theme) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.setLineDash([5, 5]);
    for (const { time, color } of marks) {
        const x = Math.round(plot.valToPos(time, 'x', true));
        ctx.strokeStyle = theme.visualization.getColorByName(color);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
    }
    ctx.restore();
}
