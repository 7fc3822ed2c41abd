// A single number with its course below it.

import { BigValue } from '@grafana/ui';
import { dataFrames } from './fields.js';

export function Stat({ panel, frames, width, height, theme }) {
    const [time, value] = dataFrames(panel, frames, theme)[0].fields;
    const { colorMode, graphMode, justifyMode, textMode } = panel.options;
    const last = value.values.findLast((value) => value !== null);
    const seen = value.values.filter((value) => value !== null);
    // From 0, as the panels say; a flat line stands at half the height.
    value.state = { ...value.state, range: { min: 0, max: Math.max(...seen) || 1, delta: Math.max(...seen) || 1 } };
    return (
        <BigValue
            width={width}
            height={height}
            theme={theme}
            value={value.display(last)}
            sparkline={{ y: value, x: time }}
            {...{ colorMode, graphMode, justifyMode, textMode }}
        />
    );
}
