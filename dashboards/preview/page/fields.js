// Answers as Grafana's data frames, with the panel's unit, colours, thresholds and words.

import { FieldType, createDataFrame, getDisplayProcessor } from '@grafana/data';

/** A series' field config as the components want it: JSON has no minus infinity. */
function config(panel, name) {
    const { defaults, overrides } = panel.fieldConfig;
    const own = overrides.filter(({ matcher }) => matcher.id === 'byName' && matcher.options === name);
    const color = own.flatMap(({ properties }) => properties).findLast(({ id }) => id === 'color')?.value ?? defaults.color;
    const steps = defaults.thresholds?.steps.map(({ value, color }) => ({ value: value ?? -Infinity, color }));
    return { ...defaults, color, thresholds: steps && { ...defaults.thresholds, steps } };
}

export function dataFrames(panel, frames, theme) {
    return frames.map(({ legend, labels, times, values }, index) => {
        const value = { name: 'Value', type: FieldType.number, values, labels, config: { ...config(panel, legend), displayNameFromDS: legend } };
        const time = { name: 'Time', type: FieldType.time, values: times, config: {} };
        const frame = createDataFrame({ name: legend, fields: [time, value] });
        for (const field of frame.fields) {
            field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
            field.state = { ...field.state, displayName: field === frame.fields[1] ? legend : 'Time', seriesIndex: index };
        }
        return frame;
    });
}
